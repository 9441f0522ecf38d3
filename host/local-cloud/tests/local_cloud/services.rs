//! Services on VMs: reached by host name, kept by snapshots, paused, ended.

use std::os::unix::fs::PermissionsExt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vdeploy_local_cloud::Cloud;

use super::support::{NOBODY, Rig, finish, lives, options, tls_to, until};

/// Answers with what it knows about itself.
const SERVER: &str = r#"
const http = require('http');
const { VERS_VM_ID: vm, TOKEN: token, PORT: port } = process.env;
const about = { vm, token, pid: process.pid, cwd: process.cwd() };
http.createServer((req, res) => {
  let body = '';
  req.on('data', (piece) => (body += piece));
  req.on('end', () => res.end(JSON.stringify({ ...about, url: req.url, body })));
}).listen(Number(port), process.argv[2], () => console.log('listening'));
"#;

/// Asks the service from inside the VM, over IPv4; exits with 0 if it answers.
const ASK_INSIDE: &str = "node -e \"require('http').get('http://127.0.0.1:' + process.env.PORT, \
    (res) => process.exit(res.statusCode === 200 ? 0 : 1))\"";

/// Starts the server on an address of the VM, apart from its session; answers its process id.
async fn serve(rig: &Rig, vm: &str, address: &str) -> String {
    let ssh = rig.ssh(vm).await;
    let write = ssh.open("mkdir -p app && cat > app/server.js").await;
    write.data(SERVER.as_bytes()).await.unwrap();
    write.eof().await.unwrap();
    assert_eq!(finish(write).await.code, Some(0));
    let start = format!(
        "cd app; : > log; \
         TOKEN=s3cret setsid node \"$HOME/app/server.js\" {address} >>log 2>&1 </dev/null & \
         until grep -q listening log; do sleep 0.05; done; echo $!"
    );
    let done = ssh.run(&start).await;
    assert_eq!(done.code, Some(0), "{done:?}");
    done.text().trim().to_owned()
}

#[tokio::test]
async fn a_restored_vm_answers_under_its_own_name_and_the_old_one_goes_on() {
    let rig = Rig::start().await;
    let old = rig.new_vm().await;
    let pid = serve(&rig, &old, "::").await;
    let before = rig.get("http", &old, "/a?b=c").await.json();
    assert_eq!(before["vm"], old.as_str());
    assert_eq!(before["url"], "/a?b=c");
    assert_eq!(before["pid"].to_string(), pid);

    let commit = rig.commit(&old).await;
    let after = rig.get("https", &old, "/").await.json();
    assert_eq!(
        after["pid"], before["pid"],
        "the service outlived the commit"
    );

    let new = rig.restore(&commit).await;
    let restored = rig.get_when_up("https", &new, "/").await.json();
    assert_eq!(restored["vm"], new.as_str());
    assert_eq!(restored["token"], "s3cret");
    assert!(restored["cwd"].as_str().unwrap().contains(&new));
    assert_ne!(restored["pid"], before["pid"]);
    let still = rig.get("http", &old, "/").await.json();
    assert_eq!(still["pid"], before["pid"]);

    let ssh = rig.ssh(&new).await;
    let old_key = rig.ssh(&old).await.host_key;
    assert_eq!(ssh.host_key, old_key, "cloned as a disk is");
    assert_ne!(rig.ssh_key(&old).await, rig.ssh_key(&new).await);
    let log = ssh.run("grep -c listening app/log").await.text();
    assert_eq!(log, "2\n", "it writes on in the file of its own VM");

    let commit = rig.root.path().join("commits").join(&commit);
    let services = commit.join("services.json").metadata().unwrap();
    let mode = services.permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "the list of services holds secrets");
    rig.stop().await;
    assert!(!lives(&pid));
}

#[tokio::test]
async fn nothing_is_written_while_a_commit_copies() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let ssh = rig.ssh(&vm).await;
    // The writer is always ahead in the file that is copied first.
    let write = "dd if=/dev/zero of=between bs=1M count=64 2>/dev/null; \
        setsid sh -c 'while :; do echo x >>a; echo x >>z; done' >/dev/null 2>&1 </dev/null & \
        until [ -s z ]; do sleep 0.05; done";
    assert_eq!(ssh.run(write).await.code, Some(0));
    let count = "wc -l <a; wc -l <z";
    for _ in 0..3 {
        let copy = rig.restore(&rig.commit(&vm).await).await;
        let counted = rig.ssh(&copy).await.run(count).await.text();
        let counted: Vec<u32> = counted.lines().map(|n| n.trim().parse().unwrap()).collect();
        let ahead = counted[0].checked_sub(counted[1]);
        assert!(matches!(ahead, Some(0 | 1)), "{counted:?}");
    }
    let before = ssh.run("wc -l <a").await.text();
    let onward = format!(
        "until [ $(wc -l <a) -gt {} ]; do sleep 0.05; done",
        before.trim()
    );
    assert_eq!(ssh.run(&onward).await.code, Some(0), "the writer goes on");
    rig.stop().await;
}

#[tokio::test]
async fn a_service_on_ipv4_alone_cannot_be_reached() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    serve(&rig, &vm, "0.0.0.0").await;
    let inside = rig.ssh(&vm).await.run(ASK_INSIDE).await;
    assert_eq!(inside.code, Some(0), "inside it answers");
    for scheme in ["http", "https"] {
        let outside = rig.get(scheme, &vm, "/").await;
        assert_eq!(outside.status, 502);
        assert!(outside.text.contains("IPv6"), "{}", outside.text);
        assert_eq!(rig.get(scheme, NOBODY, "/").await.status, 404);
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_gateway_passes_http_on_too() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    serve(&rig, &vm, "::").await;
    let gateway = rig.ends().gateway.parse().unwrap();
    let mut tls = tls_to(rig.ends(), &vm, gateway).await.unwrap();
    let head = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
    tls.write_all(head.as_bytes()).await.unwrap();
    tls.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""body":"hello""#), "{answer}");
    rig.stop().await;
}

#[tokio::test]
async fn a_paused_vm_stands_still_until_it_is_resumed() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let pid = serve(&rig, &vm, "::").await;
    let key = rig.ssh_key(&vm).await;
    let state = format!("/vm/{vm}/state");
    let pause = r#"{"state":"Paused"}"#;
    let paused = rig.call("PATCH", &state, Some(pause)).await;
    assert_eq!((paused.status.as_u16(), paused.text.as_str()), (200, ""));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(stat.contains(") T "), "{stat}");
    assert_eq!(rig.get("http", &vm, "/").await.status, 502);
    assert!(rig.ssh_as(&vm, "root", &key).await.is_err());

    let resume = r#"{"state":"Running"}"#;
    let resumed = rig.call("PATCH", &state, Some(resume)).await;
    assert_eq!(resumed.status, 200);
    let back = rig.get("http", &vm, "/").await.json();
    assert_eq!(back["pid"].to_string(), pid);
    assert_eq!(rig.ssh(&vm).await.run("true").await.code, Some(0));

    let keep = format!("/vm/{vm}/commit?keep_paused=true");
    let kept = rig.call("POST", &keep, None).await;
    assert_eq!(kept.status, 201, "{}", kept.text);
    let status = rig.get_json(&format!("/vm/{vm}/status")).await;
    assert_eq!(status["state"], "paused");
    rig.stop().await;
    assert!(!lives(&pid), "a paused VM can be ended");
}

#[tokio::test]
async fn deleting_a_vm_ends_its_processes_and_its_sessions_only() {
    let rig = Rig::start().await;
    let (vm, other) = (rig.new_vm().await, rig.new_vm().await);
    let pid = serve(&rig, &vm, "::").await;
    let spared = serve(&rig, &other, "::").await;
    let ssh = rig.ssh(&vm).await;
    let stubborn = ssh
        .run(
            "setsid sh -c 'trap \"\" TERM HUP; echo $$ > p; sleep 300; sleep 300' \
             >/dev/null 2>&1 </dev/null & until [ -s p ]; do sleep 0.05; done; cat p",
        )
        .await;
    let stubborn = stubborn.text().trim().to_owned();
    assert!(lives(&stubborn));

    let gone = rig.call("DELETE", &format!("/vm/{vm}"), None).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert!(!lives(&pid));
    assert!(!lives(&stubborn), "who does not listen is killed");
    assert!(lives(&spared));
    until("open sessions end with the VM", || ssh.handle.is_closed()).await;
    rig.stop().await;
    assert!(!lives(&spared));
}

#[tokio::test]
async fn services_come_back_with_the_cloud() {
    let rig = Rig::start().await;
    let vm = rig.new_vm().await;
    let pid = serve(&rig, &vm, "::").await;
    let Rig { cloud, http, root } = rig;
    cloud.shutdown(false).await.unwrap();
    assert!(lives(&pid), "a cloud that stops alone leaves them running");

    let cloud = Cloud::start(options(root.path())).await.unwrap();
    let rig = Rig { cloud, http, root };
    let same = rig.get("http", &vm, "/").await.json();
    assert_eq!(same["pid"].to_string(), pid);
    let Rig { cloud, http, root } = rig;
    cloud.shutdown(true).await.unwrap();
    assert!(!lives(&pid));

    let cloud = Cloud::start(options(root.path())).await.unwrap();
    let rig = Rig { cloud, http, root };
    let back = rig.get_when_up("http", &vm, "/").await.json();
    assert_eq!(back["token"], "s3cret");
    rig.stop().await;
}
