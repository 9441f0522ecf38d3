//! Two machines that share nothing but the target. The first is stopped in the
//! middle of a run for longer than its lease, the second deploys, and the first
//! goes on: it changes nothing any more, neither by HTTP nor at the platform nor
//! on the target.

use crate::e2e::Add;
use crate::e2e::counted::Counted;
use crate::e2e::cut::kind;
use crate::e2e::hold::elsewhere;
use crate::e2e::plugins::component;
use crate::e2e::under_way::UnderWay;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use vdeploy_tests::base::wait_for;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "fenced::a_stopped_host_sends_no_request_after_its_lease",
        |base| woken(base, [POST, SNAPSHOT, TOUCH]),
    );
    crate::e2e::test(
        add,
        "fenced::a_stopped_host_takes_no_snapshot_after_its_lease",
        |base| woken(base, [SNAPSHOT, POST, TOUCH]),
    );
}

const POST: &str = "{ do = \"http\", method = \"POST\", url = \"URL/hook\", try = true }";
const SNAPSHOT: &str = "{ do = \"snapshot\", label = \"too late\", try = true }";
const TOUCH: &str = "{ do = \"exec\", argv = [\"touch\", \"too-late\"], try = true }";

/// A place that counts the requests which get there.
struct Hook {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl Hook {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let mut first = [0; 1];
                if stream.read(&mut first).is_ok_and(|read| read > 0) {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                }
            }
        });
        Ok(Self { url, requests })
    }

    fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// A plan that posts and takes a snapshot, waits, and does all this.
fn project(hook: &Hook, then: [&str; 3]) -> Result<String> {
    let then = then.join(", ").replace("URL", &hook.url);
    Ok(format!(
        r#"
[plugins.scripted]
path = "{}"
[plugins.scripted.grants]
ssh = ["touch **"]
http = ["POST {}/**"]
secrets = ["auth-token@ssh"]
secrets-reveal = ["auth-token"]
snapshot = ["create", "restore", "self-managed"]
state = true

[plans.late]
on-failure = "keep"
[[plans.late.step]]
id = "late"
plugin = "scripted"
[plans.late.step.config]
run = [
  {},
  {{ do = "snapshot", label = "in time" }},
  {{ do = "sleep", ms = 25000 }},
  {then},
]
"#,
        component("scripted")?.display(),
        hook.url,
        POST.replace("URL", &hook.url),
    ))
}

fn woken(base: &Base, then: [&str; 3]) -> Result<()> {
    let site = base.site()?;
    let world = Counted::new(&site)?;
    let hook = Hook::start()?;
    site.write_project(&project(&hook, then)?)?;
    site.remote.push_variant("good-v2")?;
    let first = site.command(&["run", "--plan", "late", "--json"]);
    let mut first = UnderWay::until(first, |event| {
        let action = event.get("action").and_then(Value::as_str).unwrap_or("");
        kind(event) == "call-started" && action.starts_with("wait ")
    })?;
    // The event comes before the wait. The wait is over when the lease is.
    let limit = Duration::from_secs(20);
    wait_for("the beginning of the wait", limit, || {
        let waits = calls(&site, &first.run, "intent", true).ok()?;
        (!waits.is_empty()).then_some(())
    })?;
    first.signal("STOP")?;
    ensure!(hook.count() == 1, "{} requests in time", hook.count());

    let wait = ["--wait", "300", "--set", "smoke.stable-seconds=0"];
    let mut second = site.command(&["run", "--plan", "default", "--json"]);
    elsewhere(&mut second, &site);
    Ran::from(second.args(wait).output()?)
        .expect_code(0)?
        .expect_text(&format!("ending what run {}", first.run))?;
    ensure!(site.version().as_deref() == Some("2.0.0"));

    let (counts, head) = (world.counts(&site.vm)?, site.head()?);
    first.signal("CONT")?;
    let ran = first.end()?.expect_code(40)?;
    ran.expect_text("the lease was lost")?
        .expect_text("tried: ")?
        .expect_text("gate.closed")?;
    ensure!(hook.count() == 1, "{} requests", hook.count());
    let after = world.counts(&site.vm)?;
    ensure!(after == counts, "{counts:?}\n{after:?}");
    ensure!(!site.home(&site.vm)?.join("too-late").exists());
    ensure!(site.head()? == head && site.version().as_deref() == Some("2.0.0"));
    // What was not sent is not in doubt. Only the end of the wait may not have
    // been written any more.
    let results = calls(&site, &first.run, "result", false)?;
    let mut open = calls(&site, &first.run, "intent", false)?;
    open.retain(|call| !results.contains(call));
    ensure!(open.is_empty(), "{open:?} are in doubt");
    crate::e2e::hold::lease_is_free_elsewhere(&site)
}

/// The numbers of the calls of which a run's journal has this kind of entry:
/// waits, or all others.
fn calls(site: &Site<'_>, run: &str, kind: &str, waits: bool) -> Result<Vec<u64>> {
    let shown = site.vdeploy(&["runs", "show", run, "--json"])?;
    let shown: Value = serde_json::from_str(&shown.expect_code(0)?.stdout)?;
    let journal = shown.get("journal").and_then(Value::as_array);
    let entries = journal.context("no journal")?.iter().filter(|entry| {
        let text = |pointer| entry.pointer(pointer).and_then(Value::as_str);
        let is_wait = text("/entry/function") == Some("clock.sleep-ms");
        text("/entry/entry") == Some(kind) && is_wait == waits
    });
    let calls = entries.filter_map(|entry| entry.pointer("/entry/call")?.as_u64());
    Ok(calls.collect())
}
