//! Where the log is, who can read it, and which files are never opened as a log.

use super::*;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_plain_name_is_in_a_directory_of_the_login_users_own() {
    let launcher = Launcher::new();
    let answer = launcher
        .call(serde_json::json!({ "log": "agent-services.log" }))
        .unwrap();
    launcher.started.borrow_mut().push(listener(&answer));
    let log = launcher.path(".vdeploy/logs/app/agent-services.log");
    assert_eq!(answer["log"], log.to_str().unwrap());
    assert!(fs::read_to_string(&log).unwrap().contains("running on"));
    assert_eq!(mode(&log), 0o600);
    for dir in [".vdeploy/logs", ".vdeploy/logs/app"] {
        assert_eq!(mode(&launcher.path(dir)), 0o700, "{dir}");
    }
    // Files of the service do not become private by that.
    let umask = fs::read_to_string(format!("/proc/{}/status", listener(&answer).pid)).unwrap();
    let umask = umask.lines().find(|line| line.starts_with("Umask:"));
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("Umask:"));
    assert_eq!(umask, own);
}

#[test]
fn services_in_other_directories_have_other_logs() {
    let launcher = Launcher::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let app = elsewhere.path().canonicalize().unwrap();
    fs::write(app.join("server.js"), SERVER).unwrap();
    let answer = launcher
        .call(serde_json::json!({ "log": "agent-services.log", "app_dir": app }))
        .unwrap();
    launcher.started.borrow_mut().push(listener(&answer));
    let own = app.to_str().unwrap().replace('/', "%");
    let log = launcher.path(&format!(".vdeploy/logs/{own}/agent-services.log"));
    assert_eq!(answer["log"], log.to_str().unwrap());
}

/// Otherwise the login user, root, would write wherever the link points.
#[test]
fn a_link_in_the_place_of_the_log_is_refused() {
    for (name, dangling) in [
        ("service.log", false),
        ("service.log", true),
        ("service.log.previous", false),
    ] {
        let launcher = Launcher::new();
        let victim = launcher.path("victim");
        if !dangling {
            fs::write(&victim, "untouched").unwrap();
        }
        symlink(&victim, launcher.path(name)).unwrap();
        let error = launcher.call(serde_json::json!({})).unwrap_err();
        assert_eq!(error.code, "restart.no-log");
        let said = format!(
            "{} is a symbolic link; remove it, or",
            launcher.path(name).display()
        );
        assert!(error.message.contains(&said), "{error}");
        assert_eq!(victim.exists(), !dangling);
        assert_eq!(
            launcher.read("victim"),
            if dangling { "" } else { "untouched" }
        );
        assert!(launcher.get().is_none());
    }
}

#[test]
fn what_is_no_file_or_belongs_to_another_user_is_refused() {
    let launcher = Launcher::new();
    fs::create_dir(launcher.path("service.log")).unwrap();
    let error = launcher.call(serde_json::json!({})).unwrap_err();
    assert!(error.message.contains("is not a regular file"), "{error}");
    fs::remove_dir(launcher.path("service.log")).unwrap();

    // Only root can create a file of another user.
    if fs::metadata(launcher.path("")).unwrap().uid() != 0 {
        return;
    }
    let log = launcher.path("service.log");
    fs::write(&log, "theirs").unwrap();
    std::os::unix::fs::chown(&log, Some(65_534), None).unwrap();
    let error = launcher.call(serde_json::json!({})).unwrap_err();
    assert!(
        error.message.contains("is a file of another user"),
        "{error}"
    );
    assert_eq!(launcher.read("service.log"), "theirs");
}
