//! Against small servers on the loopback.

mod elsewhere;

use super::ReqwestHttp;
use axum::Router;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, get, post};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;
use vdeploy_core::capability::http::{HeaderText, HopPolicy, Http, Nearness, Request, Response};
use vdeploy_core::capability::secrets::{Secret, SecretValue};
use vdeploy_core::capability::{EffectError, ErrorKind};
use vdeploy_net::fixtures::{TestTls, test_tls};
use vdeploy_net::tls::{Tls, TlsOptions};
use vdeploy_scope::address::same_origin;

/// Allows the ports in the list, and the secret to the first of them.
#[derive(Default)]
struct Ports {
    allowed: Vec<u16>,
    /// Named by the grants besides the loopback.
    named: Vec<IpAddr>,
    target: Option<&'static str>,
    asked: Mutex<Vec<String>>,
}

impl HopPolicy for Ports {
    fn allows(&self, method: &str, url: &Url) -> Result<(), EffectError> {
        self.asked.lock().unwrap().push(format!("{method} {url}"));
        let port = url.port_or_known_default().unwrap();
        match self.allowed.is_empty() || self.allowed.contains(&port) {
            true => Ok(()),
            false => Err(EffectError::new(
                ErrorKind::Denied,
                "http.denied",
                "no grant",
            )),
        }
    }
    fn allows_secret(&self, _: &str, url: &Url) -> bool {
        self.allowed.first() == url.port().as_ref()
    }
    fn nearness(&self, url: &Url) -> Nearness {
        match self.target {
            Some(target) if same_origin(url, target) => Nearness::Origin,
            Some(target) if Url::parse(target).unwrap().host() == url.host() => Nearness::Host,
            _ => Nearness::Elsewhere,
        }
    }
    fn names_address(&self, _: &str, url: &Url, ip: IpAddr) -> Result<(), String> {
        let literal = url.host_str() == Some("127.0.0.1");
        match literal || self.named.contains(&ip) {
            true => Ok(()),
            false => Err(format!("add {ip}")),
        }
    }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// A server that runs this on each connection after reading the request.
async fn raw(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = tcp.read(&mut request).await;
            let _ = tcp.write_all(answer).await;
        }
    });
    address
}

async fn echo(uri: Uri, headers: HeaderMap) -> String {
    let mut lines = vec![uri.to_string()];
    for name in ["authorization", "x-plain", "cookie"] {
        if let Some(value) = headers.get(name) {
            lines.push(format!("{name}={}", value.to_str().unwrap()));
        }
    }
    lines.join("\n")
}

fn http() -> ReqwestHttp {
    with_ca(None)
}

fn with_ca(ca_file: Option<PathBuf>) -> ReqwestHttp {
    let tls = tls(ca_file, true);
    ReqwestHttp::new(&tls, &tls, &[]).unwrap()
}

fn tls(ca_file: Option<PathBuf>, verify: bool) -> Tls {
    Tls::new(&TlsOptions { ca_file, verify }).unwrap()
}

/// A server with that certificate, which answers `ok`.
async fn tls_server(tls: &TestTls) -> u16 {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.server.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(tcp).await {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
                let _ = stream.shutdown().await;
            }
        }
    });
    port
}

fn request(method: &str, url: &str) -> Request {
    Request {
        method: method.into(),
        url: Url::parse(url).unwrap(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: Duration::from_secs(20),
        max_response: 1 << 20,
        read_back: None,
    }
}

async fn get_from(url: &str) -> Result<Response, EffectError> {
    http().send(&request("GET", url), &Ports::default()).await
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.clone()).unwrap()
}

fn token() -> HeaderText {
    HeaderText::Secret {
        prefix: "Bearer ".into(),
        secret: Secret {
            name: "token".into(),
            value: SecretValue::new("s3cr3t".into()),
        },
    }
}

#[tokio::test]
async fn an_error_status_is_a_response_with_headers_and_body() {
    let app =
        Router::new().route(
            "/x",
            post(|body: String| async move {
                (axum::http::StatusCode::CONFLICT, [("X-One", "1")], body)
            }),
        );
    let at = serve(app).await;
    // `localhost` needs no DNS.
    let mut r = request("POST", &format!("http://service.localhost:{}/x", at.port()));
    r.body = b"hello".to_vec();
    let response = http().send(&r, &Ports::default()).await.unwrap();
    assert_eq!((response.status, text(&response)), (409, "hello".into()));
    assert!(response.headers.contains(&("x-one".into(), "1".into())));
}

#[tokio::test]
async fn a_redirect_asks_the_policy_and_leaves_secrets_behind() {
    let other = serve(Router::new().route("/end", get(echo))).await;
    let to = format!("http://{other}/end");
    let app = Router::new()
        .route("/go", get(move || async move { Redirect::temporary(&to) }))
        .route("/near", get(|| async { Redirect::to("/end") }))
        .route("/end", get(echo));
    let first = serve(app).await;
    let policy = Ports {
        allowed: vec![first.port(), other.port()],
        ..Ports::default()
    };
    let mut r = request("GET", &format!("http://{first}/go"));
    r.headers = vec![
        ("Authorization".into(), token()),
        ("X-Plain".into(), HeaderText::Plain("p".into())),
        ("Cookie".into(), HeaderText::Plain("c".into())),
    ];
    let far = http().send(&r, &policy).await.unwrap();
    assert_eq!(text(&far), "/end\nx-plain=p");
    assert_eq!(policy.asked.lock().unwrap().len(), 2);
    r.url = Url::parse(&format!("http://{first}/near")).unwrap();
    let near = http().send(&r, &policy).await.unwrap();
    assert_eq!(
        text(&near),
        "/end\nauthorization=Bearer s3cr3t\nx-plain=p\ncookie=c"
    );

    let only_first = Ports {
        allowed: vec![first.port()],
        ..Ports::default()
    };
    r.url = Url::parse(&format!("http://{first}/go")).unwrap();
    assert_eq!(
        http().send(&r, &only_first).await.unwrap_err().code,
        "http.denied"
    );
}

#[tokio::test]
async fn a_secret_that_may_not_go_to_the_first_address_is_an_error() {
    let mut r = request("GET", "http://127.0.0.1:9/");
    r.headers = vec![("Authorization".into(), token())];
    let error = http().send(&r, &Ports::default()).await.unwrap_err();
    assert_eq!(error.code, "http.denied");
    assert!(error.message.contains("`token`") && !error.message.contains("s3cr3t"));
}

#[tokio::test]
async fn changes_are_not_redirected_and_endless_redirects_end() {
    let app = Router::new().route("/loop", any(|| async { Redirect::temporary("/loop") }));
    let at = serve(app).await;
    let url = format!("http://{at}/loop");
    let posted = http().send(&request("POST", &url), &Ports::default()).await;
    assert_eq!(posted.unwrap().status, 307);
    let policy = Ports::default();
    let error = http()
        .send(&request("GET", &url), &policy)
        .await
        .unwrap_err();
    assert_eq!(error.code, "http.redirects");
    assert_eq!(policy.asked.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn link_local_addresses_are_refused_also_behind_a_redirect() {
    let metadata = "http://169.254.169.254/latest/meta-data/";
    let app = Router::new().route("/go", get(move || async move { Redirect::to(metadata) }));
    let at = serve(app).await;
    for url in [
        metadata,
        "http://[fe80::1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://2852039166/",
        &format!("http://{at}/go"),
    ] {
        let error = get_from(url).await.unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.kind),
            ("http.denied", ErrorKind::Denied),
            "{url}"
        );
    }
}

#[tokio::test]
async fn headers_and_addresses_that_lead_past_a_grant_are_refused() {
    for name in ["Host", "Content-Length", "Transfer-Encoding", "bad name"] {
        let mut r = request("GET", "http://127.0.0.1:9/");
        r.headers = vec![(name.into(), HeaderText::Plain("x".into()))];
        let error = http().send(&r, &Ports::default()).await.unwrap_err();
        assert_eq!(error.code, "http.invalid", "{name}");
    }
    for url in ["ftp://127.0.0.1/", "http://user:pass@127.0.0.1:9/"] {
        let error = get_from(url).await.unwrap_err();
        assert_eq!(error.code, "http.invalid", "{url}");
        assert!(!error.message.contains("pass@"), "{error}");
    }
    let error = http()
        .send(&request("get", "http://127.0.0.1:9/"), &Ports::default())
        .await;
    assert_eq!(error.unwrap_err().code, "http.invalid");
}

#[tokio::test]
async fn a_body_over_the_limit_is_too_large_announced_or_not() {
    let app = Router::new().route("/", any(|| async { "x".repeat(1000) }));
    let announced = serve(app).await;
    let unannounced = raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123456789012345").await;
    for at in [announced, unannounced] {
        let mut r = request("GET", &format!("http://{at}/"));
        r.max_response = 10;
        let error = http().send(&r, &Ports::default()).await.unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.maybe_applied),
            ("http.too-large", false)
        );
        r.method = "HEAD".into();
        if at == announced {
            http().send(&r, &Ports::default()).await.unwrap();
        }
        r.method = "POST".into();
        let error = http().send(&r, &Ports::default()).await.unwrap_err();
        assert!(
            error.maybe_applied,
            "a change was made although its answer is too long"
        );
    }
}

#[tokio::test]
async fn a_server_that_never_answers_times_out_and_a_change_is_then_in_doubt() {
    let app = Router::new().route(
        "/",
        any(|| async {
            std::future::pending::<()>().await;
            ().into_response()
        }),
    );
    let at = serve(app).await;
    for (method, in_doubt) in [("GET", false), ("POST", true)] {
        let mut r = request(method, &format!("http://{at}/"));
        r.timeout = Duration::from_millis(200);
        let error = http().send(&r, &Ports::default()).await.unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.maybe_applied),
            ("http.timeout", in_doubt)
        );
    }
}

#[tokio::test]
async fn a_connection_that_ends_early_is_closed_and_none_at_all_is_connect() {
    let at = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").await;
    for (method, in_doubt) in [("GET", false), ("DELETE", true)] {
        let r = request(method, &format!("http://{at}/"));
        let error = http().send(&r, &Ports::default()).await.unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.maybe_applied),
            ("http.closed", in_doubt)
        );
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    let error = http()
        .send(&request("POST", &url), &Ports::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.maybe_applied),
        ("http.connect", false)
    );
}

#[tokio::test]
async fn a_private_ca_is_trusted_only_when_named() {
    let tls = test_tls(&["service.localhost"]);
    let port = tls_server(&tls).await;
    let r = request("GET", &format!("https://service.localhost:{port}/"));
    let trusted = with_ca(Some(tls.ca_file.clone()));
    assert_eq!(
        text(&trusted.send(&r, &Ports::default()).await.unwrap()),
        "ok"
    );
    let error = http().send(&r, &Ports::default()).await.unwrap_err();
    assert_eq!(error.code, "http.tls");
    let other = request("GET", &format!("https://other.localhost:{port}/"));
    let error = trusted.send(&other, &Ports::default()).await.unwrap_err();
    assert_eq!(error.code, "http.tls");
}
