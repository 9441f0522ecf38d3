//! `vdeploy runs export` and `vdeploy replay`: real deploys of the built-in
//! plugins, repeated from a file in another place, where no address can be
//! reached and no secret is known.

use crate::e2e::Add;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use vdeploy_tests::base::TOKEN;
use vdeploy_tests::kept::PluginCache;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "replay::a_deploy_and_its_rollback_are_repeated_from_their_files",
        deploy_and_rollback,
    );
    crate::e2e::test(
        add,
        "replay::a_deploy_that_rolls_back_is_repeated_from_its_file",
        rolled_back,
    );
    crate::e2e::test(add, "replay::the_first_call_that_differs_is_shown", differs);
}

/// An empty place with a file in it.
struct Elsewhere {
    dir: PathBuf,
    file: PathBuf,
    vdeploy: PathBuf,
    cache: PluginCache,
}

impl Elsewhere {
    /// Exports the newest run of `site` into a directory of its own.
    fn of(base: &Base, site: &Site<'_>, name: &str) -> Result<Self> {
        let dir = site.dir().join(name);
        std::fs::create_dir(&dir)?;
        let file = dir.join("run.jsonl");
        site.vdeploy(&[
            "runs",
            "export",
            "latest",
            "--out",
            &file.display().to_string(),
        ])?
        .expect_code(0)?
        .expect_text("journal entries")?;
        let mode = std::fs::metadata(&file)?.permissions().mode() & 0o777;
        ensure!(
            mode == 0o600,
            "the recording can be read by others: {mode:o}"
        );
        let text = std::fs::read_to_string(&file)?;
        ensure!(!text.contains(TOKEN), "the token is in the recording");
        let printed = site
            .vdeploy(&["runs", "export", "latest"])?
            .expect_code(0)?;
        ensure!(printed.stdout == text, "standard output is not the file");
        // Half of a recording is none.
        let mut full = site.command(&["runs", "export", "latest"]);
        full.stdout(std::fs::File::create("/dev/full")?);
        Ran::from(full.output()?)
            .expect_code(1)?
            .expect_text("standard output cannot be written")?;
        let nowhere = dir.join("none").join("run.jsonl").display().to_string();
        site.vdeploy(&["runs", "export", "latest", "--out", &nowhere])?
            .expect_code(2)?;
        let names = std::fs::read_dir(&dir)?.count();
        ensure!(names == 1, "{names} files beside the recording");
        // A project file of its own, so that none above is found.
        std::fs::write(dir.join("vdeploy.toml"), "")?;
        Ok(Self {
            file,
            vdeploy: base.vdeploy().to_owned(),
            cache: base.plugin_cache().clone(),
            dir,
        })
    }

    /// `vdeploy replay FILE --json ARGS` in network and user namespaces of its
    /// own, in which no interface is up: not even loopback is there.
    fn replay(&self, args: &[&str]) -> Result<Ran> {
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--net", "--"])
            .arg(&self.vdeploy)
            .arg("replay")
            .arg(&self.file)
            .arg("--json")
            .args(args)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .env_clear()
            .env("HOME", &self.dir)
            .env("VDEPLOY_STATE", self.dir.join("state"))
            .envs(self.cache.clone())
            .output()
            .context("unshare")?;
        Ok(output.into())
    }

    /// Nothing was kept of a replay.
    fn expect_nothing_stored(&self) -> Result<()> {
        let state = self.dir.join("state");
        ensure!(!state.exists(), "{} was made", state.display());
        Ok(())
    }

    /// Changes the lines of the file.
    fn edit(&self, mut edit: impl FnMut(&mut Value)) -> Result<()> {
        let mut text = String::new();
        for line in std::fs::read_to_string(&self.file)?.lines() {
            let mut value: Value = serde_json::from_str(line)?;
            edit(&mut value);
            text.push_str(&format!("{value}\n"));
        }
        std::fs::write(&self.file, text)?;
        Ok(())
    }
}

/// Everything was the same, and the steps returned what they had returned.
fn same(ran: &Ran, recorded: &Ran) -> Result<Value> {
    let last = ran.event("replayed")?;
    ensure!(last.get("same") == Some(&true.into()), "{last}");
    let outputs = |ran: &Ran| -> Result<Vec<(Value, Value)>> {
        let finished = ran.events()?.into_iter().filter(|event| {
            event.get("type") == Some(&"step-finished".into())
                && event.get("output").is_some_and(|output| !output.is_null())
        });
        let pair = |event: Value| Some((event.get("step")?.clone(), event.get("output")?.clone()));
        Ok(finished.filter_map(pair).collect())
    };
    let (now, then) = (outputs(ran)?, outputs(recorded)?);
    ensure!(!now.is_empty() && now == then, "{now:?}\n{then:?}");
    Ok(last)
}

fn deploy_and_rollback(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    let deployed = site
        .deploy(&["--set", "smoke.stable-seconds=1"])?
        .expect_code(0)?;
    let place = Elsewhere::of(base, &site, "deploy")?;
    let last = same(&place.replay(&[])?.expect_code(0)?, &deployed)?;
    ensure!(
        last.get("recorded-outcome") == Some(&"deployed".into()),
        "{last}"
    );
    let calls = last
        .get("calls")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    ensure!(calls > 30, "only {calls} calls");
    place.expect_nothing_stored()?;

    let part = place.replay(&["--until", "npm-build"])?.expect_code(0)?;
    let ran = |step: &str| -> Result<bool> {
        let is_it = |event: &Value| {
            event.get("type") == Some(&"step-started".into())
                && event.get("phase") == Some(&"run".into())
                && event.get("step") == Some(&step.into())
        };
        Ok(part.events()?.iter().any(is_it))
    };
    ensure!(ran("npm-build")? && !ran("restart")?, "{}", part.text());
    place
        .replay(&["--until", "nothing"])?
        .expect_code(2)?
        .expect_text("npm-build")?;

    // By the snapshot, onto another VM.
    let back = site
        .vdeploy(&["rollback", "--to", "snapshot", "--json"])?
        .expect_code(0)?;
    let place = Elsewhere::of(base, &site, "rollback")?;
    let again = place.replay(&[])?.expect_code(0)?;
    same(&again, &back)?;
    let moved =
        |ran: &Ran| -> Result<Option<Value>> { Ok(ran.event("target-moved")?.get("to").cloned()) };
    ensure!(moved(&again)? == moved(&back)?, "{}", again.text());
    place.expect_nothing_stored()
}

fn rolled_back(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("error-500")?;
    let ran = site.deploy(&[])?.expect_code(11)?;
    let place = Elsewhere::of(base, &site, "elsewhere")?;
    let again = place.replay(&[])?.expect_code(0)?;
    let last = same(&again, &ran)?;
    ensure!(
        last.get("recorded-outcome") == Some(&"rolled-back".into()),
        "{last}"
    );
    let failure = |ran: &Ran| -> Result<Option<Value>> {
        Ok(ran.event("step-failed")?.get("failure").cloned())
    };
    ensure!(failure(&again)? == failure(&ran)?, "{}", again.text());
    site.vdeploy(&["replay", "latest"])?
        .expect_code(0)?
        .expect_text("it had ended with `rolled-back`")?;
    place.expect_nothing_stored()
}

fn differs(base: &Base) -> Result<()> {
    let site = base.site()?;
    site.remote.push_variant("good-v2")?;
    site.deploy(&["--set", "smoke.stable-seconds=0"])?
        .expect_code(0)?;
    let place = Elsewhere::of(base, &site, "elsewhere")?;

    // Another build of a built-in plugin: its script ends a process otherwise.
    let other = place.dir.join("other.wasm");
    std::fs::write(
        &other,
        another_build("restart", "kill -KILL", "kill -ABRT")?,
    )?;
    let given = format!("restart={}", other.display());
    let ran = place
        .replay(&["--plugin", &given])?
        .expect_code(50)?
        .expect_text("`restart` has other bytes than in the recording")?;
    let last = ran.event("replayed")?;
    ensure!(
        last.pointer("/difference/step") == Some(&"restart".into())
            && last.pointer("/difference/now/function") == Some(&"ssh.exec".into()),
        "{last}"
    );
    let lines = last.pointer("/difference/lines").context("no lines")?;
    for word in ["stdin, line ", "kill -KILL", "kill -ABRT"] {
        ensure!(lines.to_string().contains(word), "{word}: {lines}");
    }
    // One with other words in its manifest does the same.
    std::fs::write(
        &other,
        another_build("restart", "Stops the process", "Halts the process")?,
    )?;
    let ran = place.replay(&["--plugin", &given])?.expect_code(0)?;
    ran.expect_text("`restart` has other bytes than in the recording")?;
    // A stranger's does not even take the configuration.
    let stranger = crate::e2e::plugins::component("own-restart")?;
    let given = format!("restart={}", stranger.display());
    let ran = place.replay(&["--plugin", &given])?.expect_code(2)?;
    ran.expect_text("does not fit this plugin")?;
    place
        .replay(&["--plugin", "nobody=x.wasm"])?
        .expect_code(2)?
        .expect_text("its plugins: ")?;

    // One recorded request was another.
    let mut call = None;
    place.edit(|line| {
        let entry = line.pointer_mut("/entry").and_then(Value::as_object_mut);
        let Some(entry) = entry.filter(|_| call.is_none()) else {
            return;
        };
        if entry.get("function") == Some(&"ssh.exec".into())
            && entry.get("step") == Some(&"npm-build".into())
            && let Some(request) = entry.get_mut("request").and_then(Value::as_object_mut)
        {
            request.insert("cwd".to_owned(), "/somewhere/else".into());
            call = entry.get("call").and_then(Value::as_u64);
        }
    })?;
    let call = call.context("the build ran no command")?;
    let last = place.replay(&[])?.expect_code(50)?.event("replayed")?;
    ensure!(
        last.pointer("/difference/call") == Some(&call.into())
            && last.pointer("/difference/now/function") == Some(&"ssh.exec".into()),
        "{last}"
    );
    let lines = last.pointer("/difference/lines").context("no lines")?;
    ensure!(
        lines.to_string().contains("cwd:") && lines.to_string().contains("/somewhere/else"),
        "{lines}"
    );
    let text = Command::new(&place.vdeploy)
        .arg("replay")
        .arg(&place.file)
        .current_dir(&place.dir)
        .env("VDEPLOY_STATE", place.dir.join("state"))
        .envs(place.cache.clone())
        .output()?;
    Ran::from(text)
        .expect_code(50)?
        .expect_text(&format!("step `npm-build` (run), call {call}"))?
        .expect_text("  - \"/somewhere/else\"")?;
    cut(&place.file)?;
    place
        .replay(&[])?
        .expect_code(2)?
        .expect_text("it was cut")?;
    Ok(())
}

/// A built-in plugin with `new` wherever it has `old`; both are as long.
fn another_build(plugin: &str, old: &str, new: &str) -> Result<Vec<u8>> {
    let profile = vdeploy_tests::binary::profile_dir()?;
    let target = profile.parent().context("no target directory")?;
    let path = target
        .join("vdeploy-plugins")
        .join(format!("{plugin}.wasm"));
    let mut bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    ensure!(old.len() == new.len());
    let mut found = 0;
    for at in 0..bytes.len().saturating_sub(old.len()) {
        if let Some(place) = bytes.get_mut(at..at + old.len())
            && place == old.as_bytes()
        {
            place.copy_from_slice(new.as_bytes());
            found += 1;
        }
    }
    ensure!(found > 0, "`{old}` is not in {}", path.display());
    Ok(bytes)
}

/// Loses the last line, as a download that broke off.
fn cut(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file)?;
    let (kept, _) = text.trim_end().rsplit_once('\n').context("one line")?;
    std::fs::write(file, kept)?;
    Ok(())
}
