//! The VM from the registry of a service: one entry among others, or a list.

use super::fake::{Fake, vm};
use crate::{RegistryError, RegistryQuery, VersClient};
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use vdeploy_core::capability::secrets::SecretValue;

fn entry(id: &str, status: &str) -> Value {
    json!({
        "id": id, "name": format!("{id}-name"), "role": "infra", "status": status,
        "address": format!("{id}.vm.localhost"), "lastSeen": "2026-01-02T03:04:05Z",
        "services": [{"name": "board", "port": 3000}, {"name": "feed"}, {"name": "registry"}],
    })
}

/// A service with a registry that holds `entries`.
async fn registry(entries: Vec<Value>) -> RegistryQuery {
    let handler = move |headers: HeaderMap| async move {
        match headers.get(header::AUTHORIZATION).map(|v| v.as_bytes()) {
            Some(b"Bearer the-token") => {
                let count = entries.len();
                axum::Json(json!({ "vms": entries, "count": count })).into_response()
            }
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    };
    let app = Router::new().route("/registry/vms", get(handler));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    RegistryQuery {
        url: format!("http://{address}"),
        token: SecretValue::new("the-token".to_owned()),
        token_name: "auth-token".to_owned(),
        role: "infra".to_owned(),
        services: ["board", "feed", "registry"].map(str::to_owned).to_vec(),
    }
}

fn client(fake: &Fake) -> VersClient {
    let mut config = fake.config();
    config.vm_domain = Some("vm.localhost".into());
    VersClient::new(&config).unwrap()
}

#[tokio::test]
async fn the_entry_with_role_services_and_address_is_the_vm() {
    let fake = Fake::start().await;
    let mut other_role = entry("vm-9", "running");
    other_role["role"] = "worker".into();
    let mut forge = entry("forge", "running");
    forge["services"] = json!([{"name": "gitea"}]);
    let mut moved = entry("vm-8", "running");
    moved["address"] = "vm-1.vm.localhost".into();
    let mut never_seen = entry("vm-1", "running");
    never_seen["lastSeen"] = "2020-01-01T00:00:00Z".into();
    never_seen["address"] = "https://vm-1.vm.localhost:3000".into();
    let query = registry(vec![other_role, forge, moved, never_seen]).await;
    let found = client(&fake).vm_from_registry(&query).await.unwrap();
    assert_eq!(found, vm("vm-1"));
}

#[tokio::test]
async fn stale_entries_are_told_apart_by_status_and_by_the_platform() {
    let fake = Fake::start().await;
    fake.cloud.lock().unwrap().add_vm("left", "paused", None);
    fake.cloud.lock().unwrap().add_vm("over", "dead", None);
    let query = registry(vec![
        entry("gone", "running"),
        entry("over", "running"),
        entry("left", "running"),
        entry("old", "stopped"),
        entry("vm-1", "running"),
    ])
    .await;
    let c = client(&fake);
    assert_eq!(c.vm_from_registry(&query).await.unwrap(), vm("vm-1"));

    // Without one that runs, the one that is frozen is what is left.
    fake.cloud
        .lock()
        .unwrap()
        .vms
        .retain(|v| v["vm_id"] != "vm-1");
    assert_eq!(c.vm_from_registry(&query).await.unwrap(), vm("left"));
}

#[tokio::test]
async fn several_or_none_are_refused_with_the_list() {
    let fake = Fake::start().await;
    fake.cloud.lock().unwrap().add_vm("vm-2", "running", None);
    let c = client(&fake);
    let query = registry(vec![entry("vm-1", "running"), entry("vm-2", "running")]).await;
    let error = c.vm_from_registry(&query).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
    let text = error.to_string();
    for part in [
        "more than one",
        "vm-1 (vm-1-name): running",
        "vm-2 (vm-2-name)",
        "last seen 2026-01-02",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let query = registry(vec![entry("vm-1", "stopped"), entry("gone", "running")]).await;
    let text = c.vm_from_registry(&query).await.unwrap_err().to_string();
    for part in [
        "none of its entries",
        "as stopped",
        "the platform does not know it",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let query = registry(Vec::new()).await;
    let text = c.vm_from_registry(&query).await.unwrap_err().to_string();
    assert!(text.contains("no entry with the role `infra`"), "{text}");
}

#[tokio::test]
async fn a_registry_that_refuses_or_is_away_is_told_apart() {
    let fake = Fake::start().await;
    let c = client(&fake);
    let mut query = registry(Vec::new()).await;
    query.token = SecretValue::new("another".to_owned());
    let error = c.vm_from_registry(&query).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused(_)), "{error}");
    assert!(
        error.to_string().contains("the secret `auth-token`"),
        "{error}"
    );
    query.url = format!("{}/elsewhere", query.url);
    let error = c.vm_from_registry(&query).await.unwrap_err();
    assert!(
        error.to_string().contains("is no registry (status 404)"),
        "{error}"
    );

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    query.url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let error = c.vm_from_registry(&query).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable(_)), "{error}");
}
