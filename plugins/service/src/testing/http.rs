//! Requests of a fake host, sent to a service of this machine.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use vdeploy_plugin::testing::{FakeRequest, FakeResponse};
use vdeploy_plugin::{Error, ErrorKind};

/// A handler that sends every request to `port`.
pub(super) fn to_port(port: u16) -> impl FnMut(&FakeRequest) -> Result<FakeResponse, Error> {
    move |request| {
        exchange(port, request)
            .map_err(|error| Error::new(ErrorKind::Unavailable, "http.connect", error.to_string()))
    }
}

fn exchange(port: u16, request: &FakeRequest) -> io::Result<FakeResponse> {
    let mut stream = TcpStream::connect(("localhost", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = format!("{} {} HTTP/1.0\r\n", request.method, request.path());
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(&request.body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other("the answer has no end of its head"))?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(FakeResponse::new(status.unwrap_or_default(), body))
}
