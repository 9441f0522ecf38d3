//! Hosts for which the target's TLS settings are not meant, and names that lead
//! inside.

use super::*;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test]
async fn the_targets_tls_settings_count_for_the_target_and_its_platform_only() {
    let at_target = test_tls(&["target.localhost", "api.localhost", "hooks.localhost"]);
    let port = tls_server(&at_target).await;
    let other_port = tls_server(&at_target).await;
    let target: &'static str = format!("https://target.localhost:{port}").leak();
    let api = Url::parse(&format!("https://api.localhost:{port}/")).unwrap();
    let policy = Ports {
        target: Some(target),
        ..Ports::default()
    };
    for excepted in [tls(None, false), tls(Some(at_target.ca_file.clone()), true)] {
        let http =
            ReqwestHttp::new(&tls(None, true), &excepted, std::slice::from_ref(&api)).unwrap();
        for url in [format!("{target}/x"), format!("{api}vms")] {
            let answer = http.send(&request("GET", &url), &policy).await.unwrap();
            assert_eq!(text(&answer), "ok", "{url}");
        }
        for url in [
            format!("https://hooks.localhost:{port}/"),
            format!("https://target.localhost:{other_port}/"),
            format!("https://api.localhost:{other_port}/"),
        ] {
            let error = http.send(&request("POST", &url), &policy).await;
            let error = error.unwrap_err();
            assert_eq!(error.code, "http.tls", "{url}");
            assert!(
                error.message.contains("count for the target only"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_redirect_from_the_target_is_not_followed_by_its_tls_settings() {
    let hooks = test_tls(&["hooks.localhost"]);
    let to = format!("https://hooks.localhost:{}/", tls_server(&hooks).await);
    let app = Router::new().route("/go", get(move || async move { Redirect::to(&to) }));
    let target: &'static str = format!("http://{}", serve(app).await).leak();
    let policy = Ports {
        target: Some(target),
        ..Ports::default()
    };
    let http = ReqwestHttp::new(&tls(None, true), &tls(None, false), &[]).unwrap();
    let r = request("GET", &format!("{target}/go"));
    let error = http.send(&r, &policy).await.unwrap_err();
    assert_eq!(error.code, "http.tls", "{error}");
}

/// A zone of somebody else: `inside.test` leads to the loopback, `both.test`
/// also to a public address, `meta.test` to where clouds serve metadata, and
/// `turns.test` to the loopback once and elsewhere from then on.
fn zone(name: String) -> BoxFuture<'static, std::io::Result<Vec<SocketAddr>>> {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let ips: &[&str] = match name.as_str() {
        "inside.test" => &["127.0.0.1"],
        "both.test" => &["127.0.0.1", "1.1.1.1"],
        "meta.test" => &["169.254.169.254"],
        "turns.test" => match ASKED.fetch_add(1, Ordering::SeqCst) {
            0 => &["127.0.0.1"],
            _ => &["192.0.2.1"],
        },
        _ => &[],
    };
    let found = ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0));
    let found: Vec<SocketAddr> = found.collect();
    Box::pin(async move { Ok(found) })
}

fn in_zone() -> ReqwestHttp {
    let tls = tls(None, true);
    ReqwestHttp::with_names(&tls, &tls, &[], zone).unwrap()
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_at_every_hop_and_the_way_out_is_told() {
    let hits = Arc::new(Mutex::new(0));
    let counted = hits.clone();
    let hit = any(move || async move { *counted.lock().unwrap() += 1 });
    let port = serve(Router::new().route("/", hit)).await.port();
    let to = format!("http://inside.test:{port}/");
    let app = Router::new().route("/go", get(move || async move { Redirect::to(&to) }));
    let outside = serve(app).await;
    for (method, url, what) in [
        (
            "GET",
            format!("http://inside.test:{port}/"),
            "inside.test leads to 127.0.0.1, a loopback",
        ),
        (
            "POST",
            format!("http://both.test:{port}/"),
            "both.test leads to 127.0.0.1",
        ),
        (
            "GET",
            format!("http://{outside}/go"),
            "inside.test leads to 127.0.0.1",
        ),
        (
            "GET",
            format!("http://[::1]:{port}/"),
            "::1 is a loopback address",
        ),
        (
            "GET",
            "http://10.1.2.3/".to_owned(),
            "10.1.2.3 is a private address",
        ),
        (
            "GET",
            "http://meta.test/".to_owned(),
            "link-local or metadata",
        ),
    ] {
        let sent = in_zone()
            .send(&request(method, &url), &Ports::default())
            .await;
        let error = sent.unwrap_err();
        assert_eq!(error.code, "http.denied", "{url}: {error}");
        assert!(error.message.contains(what), "{error}");
        assert!(error.message.contains("\nadd "), "{error}");
        assert!(!error.maybe_applied);
    }
    assert_eq!(*hits.lock().unwrap(), 0);
}

#[tokio::test]
async fn an_address_that_is_named_and_the_targets_host_may_be_inside() {
    let app = Router::new().route("/", any(|| async { "inside" }));
    let port = serve(app).await.port();
    let target = |url: String| Ports {
        target: Some(url.leak()),
        ..Ports::default()
    };
    let named = Ports {
        named: vec!["127.0.0.1".parse().unwrap()],
        ..Ports::default()
    };
    for policy in [
        named,
        target(format!("http://inside.test:{port}")),
        target("https://inside.test:1".to_owned()),
    ] {
        let r = request("GET", &format!("http://inside.test:{port}/"));
        let answer = in_zone().send(&r, &policy).await.unwrap();
        assert_eq!(text(&answer), "inside");
    }
    // A target whose name leads to metadata is not what the operator chose.
    let policy = target("http://meta.test".to_owned());
    let error = in_zone()
        .send(&request("GET", "http://meta.test/"), &policy)
        .await
        .unwrap_err();
    assert_eq!(error.code, "http.denied", "{error}");
}

#[tokio::test]
async fn the_address_that_was_looked_at_is_the_one_connected_to() {
    let app = Router::new().route("/", any(|| async { "first" }));
    let port = serve(app).await.port();
    let named = Ports {
        named: vec!["127.0.0.1".parse().unwrap()],
        ..Ports::default()
    };
    let r = request("GET", &format!("http://turns.test:{port}/"));
    let http = in_zone();
    let answer = http.send(&r, &named).await.unwrap();
    assert_eq!(text(&answer), "first");
    // The next request is checked anew, and finds no connection to reuse.
    let error = http.send(&r, &named).await.unwrap_err();
    assert!(
        error.message.contains("192.0.2.1, a reserved address"),
        "{error}"
    );
}
