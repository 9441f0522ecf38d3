//! Where a third-party plugin's requests go: names that lead into this
//! machine's network, and hosts for which the target's TLS settings were not
//! meant.

use crate::e2e::Add;
use crate::e2e::plugins::component;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vdeploy_tests::{Base, Ran};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "elsewhere::the_targets_tls_settings_are_for_the_target",
        tls,
    );
    crate::e2e::test(
        add,
        "elsewhere::a_name_that_leads_inside_is_refused_until_the_address_is_named",
        inside,
    );
}

/// A plan of one plugin that asks these addresses, and what each is granted.
fn project(scopes: &[String], urls: &[String]) -> Result<String> {
    let calls: Vec<String> = urls
        .iter()
        .map(|url| format!("{{ do = \"http\", method = \"GET\", url = \"{url}\", try = true }}"))
        .collect();
    let scopes: Vec<String> = scopes.iter().map(|s| format!("\"{s}\"")).collect();
    Ok(format!(
        "[plugins.scripted]\npath = \"{}\"\n[plugins.scripted.grants]\nhttp = [{}]\n\
         ssh = [\"echo **\"]\nsecrets = [\"auth-token@ssh\"]\nsecrets-reveal = [\"auth-token\"]\n\
         snapshot = [\"create\"]\nstate = true\n\n[plans.ask]\non-failure = \"keep\"\n[[plans.ask.step]]\nid = \"ask\"\n\
         plugin = \"scripted\"\n[plans.ask.step.config]\nrun = [{}]\n",
        component("scripted")?.display(),
        scopes.join(", "),
        calls.join(", "),
    ))
}

/// What the plugin saw: a status, or the code of an error.
fn seen(ran: &Ran) -> Result<Vec<String>> {
    let events = ran.events()?;
    let output = events.iter().find_map(|event| {
        let is_step = event.get("type")? == "step-finished" && event.get("step")? == "ask";
        is_step.then(|| event.pointer("/output/seen")).flatten()
    });
    let seen = output
        .and_then(Value::as_array)
        .with_context(|| format!("no output:\n{}", ran.text()))?;
    let shown = |value: &Value| match value.get("status") {
        Some(status) => status.to_string(),
        None => value.as_str().unwrap_or_default().to_owned(),
    };
    Ok(seen.iter().map(shown).collect())
}

fn tls(base: &Base) -> Result<()> {
    let site = base.site()?;
    let port = base.router_port()?;
    let urls = [
        format!("https://{}.vm.localhost:{port}/version", site.vm),
        // The same certificate, which only the target's settings accept.
        format!("https://hooks.vm.localhost:{port}/version"),
    ];
    let scopes = [
        "GET target/**".to_owned(),
        format!("GET https://hooks.vm.localhost:{port}/**"),
    ];
    let more = project(&scopes, &urls)?;
    for verified in [true, false] {
        let endpoints = base.endpoints()?;
        let gateway = endpoints.get("gateway").and_then(Value::as_str);
        site.write_platform_project(gateway.context("no gateway")?, &more)?;
        if !verified {
            let path = site.dir().join("vdeploy.toml");
            let text = std::fs::read_to_string(&path)?;
            let ca = text.lines().find(|l| l.starts_with("ca-file"));
            let ca = ca.context("no ca-file")?;
            std::fs::write(&path, text.replace(ca, "tls-verify = false"))?;
        }
        let ran = site
            .vdeploy(&["run", "--plan", "ask", "--json"])?
            .expect_code(0)?
            .expect_text("count for the target only")?;
        let seen = seen(&ran)?;
        ensure!(seen == ["200", "http.tls"], "verified {verified}: {seen:?}");
    }
    Ok(())
}

/// A name of this machine that is not `localhost`, and where it leads.
fn own_name() -> Result<(String, Vec<IpAddr>)> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let name = name.trim().to_ascii_lowercase();
    let found = (name.as_str(), 0).to_socket_addrs();
    let found = found.with_context(|| format!("this machine does not know its name {name}"))?;
    let mut ips: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    ips.dedup();
    Ok((name, ips))
}

fn inside(base: &Base) -> Result<()> {
    let site = base.site()?;
    let (name, ips) = own_name()?;
    let listener = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0"))?;
    let port = listener.local_addr()?.port();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let urls = [format!("http://{name}:{port}/internal")];
    let by_name = format!("GET http://{name}:{port}/**");
    site.write_project(&project(std::slice::from_ref(&by_name), &urls)?)?;
    let ran = site
        .vdeploy(&["run", "--plan", "ask", "--json"])?
        .expect_code(0)?
        .expect_text(&format!("{name} leads to "))?
        .expect_text("[plugins.scripted.grants]")?;
    ensure!(seen(&ran)? == ["http.denied"], "{}", ran.text());
    ensure!(asked.load(Ordering::SeqCst) == 0, "it was connected to");

    let mut scopes = vec![by_name];
    scopes.extend(ips.iter().map(|ip| match ip {
        IpAddr::V4(ip) => format!("GET http://{ip}:{port}/**"),
        IpAddr::V6(ip) => format!("GET http://[{ip}]:{port}/**"),
    }));
    site.write_project(&project(&scopes, &urls)?)?;
    let ran = site
        .vdeploy(&["run", "--plan", "ask", "--json"])?
        .expect_code(0)?;
    ensure!(seen(&ran)? == ["200"], "{}", ran.text());
    Ok(())
}
