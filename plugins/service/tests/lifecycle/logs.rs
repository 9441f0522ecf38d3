//! Where the log is, who may read it, and what is never opened as one.

use super::*;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_plain_name_is_in_a_directory_of_the_login_users_own() {
    let place = Place::new();
    let answer = place
        .call(serde_json::json!({ "log": "agent-services.log" }))
        .unwrap();
    place.started.borrow_mut().push(listener(&answer));
    let log = place.path(".vdeploy/logs/app/agent-services.log");
    assert_eq!(answer["log"], log.to_str().unwrap());
    assert!(fs::read_to_string(&log).unwrap().contains("running on"));
    assert_eq!(mode(&log), 0o600);
    for dir in [".vdeploy/logs", ".vdeploy/logs/app"] {
        assert_eq!(mode(&place.path(dir)), 0o700, "{dir}");
    }
    // What the service makes is not for its user alone because of that.
    let umask = fs::read_to_string(format!("/proc/{}/status", listener(&answer).pid)).unwrap();
    let umask = umask.lines().find(|line| line.starts_with("Umask:"));
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("Umask:"));
    assert_eq!(umask, own);
}

#[test]
fn services_in_other_directories_have_other_logs() {
    let place = Place::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let app = elsewhere.path().canonicalize().unwrap();
    fs::write(app.join("server.js"), SERVER).unwrap();
    let answer = place
        .call(serde_json::json!({ "log": "agent-services.log", "app_dir": app }))
        .unwrap();
    place.started.borrow_mut().push(listener(&answer));
    let own = app.to_str().unwrap().replace('/', "%");
    let log = place.path(&format!(".vdeploy/logs/{own}/agent-services.log"));
    assert_eq!(answer["log"], log.to_str().unwrap());
}

/// It would be written as the login user, which is root, wherever it leads.
#[test]
fn a_link_in_the_place_of_the_log_is_refused() {
    for (name, dangling) in [
        ("service.log", false),
        ("service.log", true),
        ("service.log.previous", false),
    ] {
        let place = Place::new();
        let victim = place.path("victim");
        if !dangling {
            fs::write(&victim, "untouched").unwrap();
        }
        symlink(&victim, place.path(name)).unwrap();
        let error = place.call(serde_json::json!({})).unwrap_err();
        assert_eq!(error.code, "restart.no-log");
        let said = format!(
            "{} is a symbolic link; remove it, or",
            place.path(name).display()
        );
        assert!(error.message.contains(&said), "{error}");
        assert_eq!(victim.exists(), !dangling);
        assert_eq!(
            place.read("victim"),
            if dangling { "" } else { "untouched" }
        );
        assert!(place.get().is_none());
    }
}

#[test]
fn what_is_no_file_or_belongs_to_another_user_is_refused() {
    let place = Place::new();
    fs::create_dir(place.path("service.log")).unwrap();
    let error = place.call(serde_json::json!({})).unwrap_err();
    assert!(error.message.contains("is not a regular file"), "{error}");
    fs::remove_dir(place.path("service.log")).unwrap();

    // Only root can make a file of somebody else.
    if fs::metadata(place.path("")).unwrap().uid() != 0 {
        return;
    }
    let log = place.path("service.log");
    fs::write(&log, "theirs").unwrap();
    std::os::unix::fs::chown(&log, Some(65_534), None).unwrap();
    let error = place.call(serde_json::json!({})).unwrap_err();
    assert!(
        error.message.contains("is a file of another user"),
        "{error}"
    );
    assert_eq!(place.read("service.log"), "theirs");
}
