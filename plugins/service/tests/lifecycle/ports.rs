//! Services that print nothing, and services that open a wrong port, or another
//! port first.

use super::*;

impl Launcher {
    fn start_silent(&self, command: &str, seconds: u64) -> Result<Listener, Error> {
        let answer = self.call(serde_json::json!({
            "command": command, "ready_line": "", "seconds": seconds,
        }))?;
        let process = listener(&answer);
        self.started.borrow_mut().push(process.clone());
        Ok(process)
    }

    fn nobody_is_left(&self) {
        let marker: RunningMarker =
            serde_json::from_str(&self.read("app/.vdeploy/running.json")).unwrap();
        assert!(!Path::new(&format!("/proc/{}", marker.pid)).exists());
    }

    fn said(&self) -> String {
        self.said.borrow().clone()
    }
}

#[test]
fn a_silent_service_is_ready_when_its_port_is_open() {
    let launcher = Launcher::new();
    let command = "SILENT=1 DELAY=500 node server.js";
    let process = launcher.start_silent(command, 20).unwrap();
    assert!(runs(&process) && launcher.get().is_some());
    assert_eq!(launcher.read("service.log"), "");
}

#[test]
fn a_silent_service_that_opens_no_port_is_told_so_and_not_of_a_line() {
    let launcher = Launcher::new();
    let command = "SILENT=1 DELAY=60000 node server.js";
    let error = launcher.start_silent(command, 1).unwrap_err();
    assert_eq!(error.code, "restart.not-ready");
    let port = launcher.port;
    let said = format!("was stopped; it does not listen on port {port}; its log is empty");
    assert!(error.message.ends_with(&said), "{error}");
    launcher.nobody_is_left();
}

/// With a timeout of half a minute, it is reported in the first seconds and
/// terminated before the timeout.
#[test]
fn a_service_on_another_port_is_named_and_not_waited_for() {
    for ready_line in ["", "vers-agent-services running on"] {
        let launcher = Launcher::new();
        let wrong = free_port();
        let began = std::time::Instant::now();
        let error = launcher
            .call(serde_json::json!({
                "command": format!("PORT={wrong} node server.js"),
                "ready_line": ready_line, "seconds": 32,
            }))
            .unwrap_err();
        assert_eq!(error.code, "restart.wrong-port", "{error}");
        assert!(began.elapsed() < Duration::from_secs(30), "{ready_line}");
        let port = launcher.port;
        let said = format!("the new process listens on port {wrong} (pid ");
        assert!(error.message.starts_with(&said), "{error}");
        let said = format!(") and not on port {port}, and was stopped; set `port` to");
        assert!(error.message.contains(&said), "{error}");
        let named = format!("not on port {port} yet");
        assert_eq!(
            launcher.said().matches(&named).count(),
            1,
            "{}",
            launcher.said()
        );
        launcher.nobody_is_left();
    }
}

/// For metrics, or for a debugger on loopback.
#[test]
fn a_port_that_is_opened_first_does_not_end_the_wait_for_the_right_one() {
    for (host, delay) in [("::", 1_500), ("127.0.0.1", 6_000), ("::1", 6_000)] {
        let launcher = Launcher::new();
        let other = free_port();
        let command =
            format!("SILENT=1 ALSO={other} ALSO_HOST={host} DELAY={delay} node server.js");
        let process = launcher.start_silent(&command, 16).unwrap();
        assert!(runs(&process) && launcher.get().is_some());
        let named = format!("listens on port {other} (pid {})", process.pid);
        assert!(launcher.said().contains(&named), "{}", launcher.said());
    }
}

#[test]
fn the_other_port_is_named_too_when_the_time_is_up() {
    let launcher = Launcher::new();
    let other = free_port();
    let command = format!("SILENT=1 ALSO={other} ALSO_HOST=127.0.0.1 DELAY=60000 node server.js");
    let error = launcher.start_silent(&command, 3).unwrap_err();
    assert_eq!(error.code, "restart.not-ready");
    let (port, said) = (launcher.port, "loopback only)");
    assert!(
        error.message.contains(&format!(
            "it does not listen on port {port}; it listens on port {other} (pid "
        )) && error.message.contains(said),
        "{error}"
    );
    launcher.nobody_is_left();
}
