//! What a plugin, a target, a project file or a recording says reaches a screen
//! as text only: no escape code, no character that nobody sees, and no line that
//! passes for one of vdeploy's own.

use crate::e2e::Add;
use crate::e2e::plugins::component;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use vdeploy_tests::{Base, Ran, Site};

pub fn add(add: &mut Add<'_>) {
    crate::e2e::test(
        add,
        "hostile::no_command_prints_more_than_text",
        every_command,
    );
    crate::e2e::test(
        add,
        "hostile::inspect_shows_the_hosts_facts_first_and_once",
        inspect,
    );
    crate::e2e::test(
        add,
        "hostile::a_project_file_cannot_paint_its_own_errors",
        project_file,
    );
}

/// Everything that must not get through: a title, hidden text, a screen that is
/// cleared, a reading direction that is turned, separators and invisible
/// characters; lines that look like vdeploy's own.
const HOSTILE: &str = "x\u{1b}]0;title\u{7}\u{1b}[8mhidden\u{1b}[2J\u{9b}8m\u{8}\u{7f}\u{202e}\u{2066}\u{200b}\
    \u{feff}\u{2028}\u{2029}\u{85}\tz\rover\n\ndigest    sha256:00\nhint: run evil\nerror: evil\n    \
    fix: run evil\n  next      run evil\n::set-env name=A::b\n##[add-mask]c";

/// Lines that only the hostile text can have brought about.
const FORGED: [&str; 6] = [
    "digest    sha256:00",
    "hint: run evil",
    "error: evil",
    "    fix: run evil",
    "  next      run evil",
    "::set-env name=A::b",
];

/// Nothing but text, and no forged line.
fn insist(what: &str, text: &str) -> Result<()> {
    let odd = text.chars().find(|c| {
        (c.is_control() && *c != '\n')
            || matches!(*c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}')
    });
    ensure!(odd.is_none(), "{what}: {odd:?} in\n{text:?}");
    for line in text.lines() {
        ensure!(!FORGED.contains(&line), "{what}: a forged line in\n{text}");
    }
    Ok(())
}

fn clean(what: &str, ran: &Ran) -> Result<()> {
    insist(&format!("{what}, stdout"), &ran.stdout)?;
    insist(&format!("{what}, stderr"), &ran.stderr)
}

/// The same where a runner of GitHub reads it: nor is there a command for it,
/// which may be indented.
fn clean_for_github(site: &Site<'_>, args: &[&str]) -> Result<Ran> {
    let output = site.command(args).env("GITHUB_ACTIONS", "true").output()?;
    let ran = Ran::from(output);
    clean(&format!("{args:?}"), &ran)?;
    for line in ran.text().lines().map(str::trim) {
        let own = ["::group::", "::endgroup::", "::error title="];
        let is_command = line.starts_with("::") && !own.iter().any(|own| line.starts_with(own));
        ensure!(
            !is_command && !line.contains("##["),
            "{args:?}: a command in\n{}",
            ran.text()
        );
    }
    Ok(ran)
}

/// The same of a command whose standard output is JSON.
fn clean_json(what: &str, ran: &Ran) -> Result<Vec<Value>> {
    clean(what, ran)?;
    let values = ran.events().with_context(|| what.to_owned())?;
    ensure!(!values.is_empty(), "{what}: nothing was printed");
    Ok(values)
}

/// `scripted` with a manifest that lies. What must be of a form has it.
fn hostile_component(dir: &Path) -> Result<std::path::PathBuf> {
    let text = toml_text(HOSTILE);
    let manifest = format!(
        "name = \"scripted\"\nversion = {text}\nsummary = {text}\napi = \"1.0\"\nundo = true\n\
         [[request]]\ncapability = \"ssh\"\nscope = \"echo **\"\nreason = {text}\n\
         [config]\ntype = \"object\"\n[config.properties.{text}]\ntype = \"string\"\n\
         default = {text}\ndescription = {text}\n\
         [config.properties.check]\ntype = \"array\"\ndefault = []\n\
         [config.properties.run]\ntype = \"array\"\ndefault = []\n\
         [config.properties.undo]\ntype = \"array\"\ndefault = []\n\
         [config.properties.output]\ntype = \"object\"\ndefault = {{}}\n"
    );
    let bytes = std::fs::read(component("scripted")?)?;
    let path = dir.join("hostile.wasm");
    std::fs::write(&path, with_manifest(&bytes, &manifest)?)?;
    Ok(path)
}

/// A string of TOML that holds any text.
fn toml_text(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| format!("\\U{:08x}", u32::from(c)))
        .collect();
    format!("\"{escaped}\"")
}

/// The component with another manifest: the first one counts.
fn with_manifest(bytes: &[u8], manifest: &str) -> Result<Vec<u8>> {
    const NAME: &[u8] = b"vdeploy:manifest";
    let (header, rest) = bytes.split_at_checked(8).context("no header")?;
    let mut section = vec![u8::try_from(NAME.len())?];
    section.extend_from_slice(NAME);
    section.extend_from_slice(manifest.as_bytes());
    Ok([header, &[0], &leb(section.len()), &section, rest].concat())
}

/// A number as WASM writes it.
fn leb(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

/// A plan whose one step says hostile things in every way that it can: in its
/// log, a named check, the output of a command on the target, and its error.
fn write_project(site: &Site<'_>) -> Result<()> {
    let text = toml_text(HOSTILE);
    site.write_project(&format!(
        "[plugins.evil]\npath = \"{}\"\n[plugins.evil.grants]\nssh = [\"probe:echo **\"]\n\
         http = [\"GET target/**\"]\nsecrets = [\"auth-token@ssh\"]\nsnapshot = [\"create\", \"restore\", \"self-managed\"]\n\
         secrets-reveal = [\"auth-token\"]\nstate = true\n\
         [plans.evil]\nsummary = {text}\non-failure = \"keep\"\n\
         [[plans.evil.step]]\nid = \"evil\"\nplugin = \"evil\"\n\
         config.check = [{{ do = \"log\", text = {text} }}]\n\
         config.run = [\n{{ do = \"log\", text = {text} }},\n\
         {{ do = \"check\", name = {text}, detail = {text} }},\n\
         {{ do = \"probe\", argv = [\"echo\", {text}] }},\n\
         {{ do = \"fail\", code = {text}, message = {text} }}]\n",
        hostile_component(site.dir())?.display()
    ))
}

fn every_command(base: &Base) -> Result<()> {
    let site = base.site()?;
    write_project(&site)?;
    let run = ["run", "--plan", "evil", "--without-snapshot", HOSTILE];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    let junit = site.dir().join("junit.xml");
    let junit = junit.display().to_string();
    let export = site.dir().join("run.jsonl");
    let export = export.display().to_string();

    for more in [&[][..], &["--verbose"], &["--dry-run"]] {
        let ran = site.vdeploy(&with(more))?.expect_code(10)?;
        ensure!(ran.text().contains("hidden"), "{}", ran.text());
        clean(&format!("run {more:?}"), &ran)?;
    }
    clean_for_github(&site, &run)?
        .expect_code(10)?
        .expect_text("::error title=")?;
    let mut args = with(&["--json", "--junit"]);
    args.push(&junit);
    let values = clean_json("run --json", &site.vdeploy(&args)?.expect_code(10)?)?;
    // Data stay what they are.
    let said = values.iter().any(|event| {
        event.get("type") == Some(&json!("log")) && event.get("message") == Some(&json!(HOSTILE))
    });
    ensure!(said, "{values:?}");
    insist("junit", &std::fs::read_to_string(&junit)?)?;
    // A name in the environment stands in every list of runs.
    let named = site.command(&run).env("USER", HOSTILE).output()?;
    clean("run of somebody", &named.into())?;

    for args in [
        &["doctor", "--plan", "evil"][..],
        &["doctor", "--plan", "evil", "--verbose"],
        &["plan", "list"],
        &["plan", "show", "evil"],
        &["plan", "check", "evil"],
        &["runs", "list"],
        &["runs", "show"],
        &["runs", "prune", "--keep", "0", "--dry-run"],
        &["runs", "export", "latest", "--out", &export],
        &["replay", "latest", "--verbose"],
        &["replay", &export],
        &["lease", "show"],
        &["lease", "break", "--yes", "--reason", HOSTILE],
        &["local", "status"],
        &["plan", "show", HOSTILE],
        &["run", "--target", HOSTILE],
        &["run", "--set", HOSTILE],
        &[
            "run",
            "--plan",
            "evil",
            "--set",
            &format!("evil.{HOSTILE}=1"),
        ],
        &["run", "--ref", HOSTILE],
        &["replay", HOSTILE],
        &["replay", &export, "--until", HOSTILE],
        &["runs", "show", HOSTILE],
        &["rollback", HOSTILE],
        &["resume", HOSTILE],
        &["abandon", HOSTILE, "--reason", HOSTILE],
        &["plugin", "inspect", HOSTILE],
        &["plugin", "inspect", &format!("builtin:{HOSTILE}")],
        &["init", "--force", "--app-dir", HOSTILE, "--vm", "a"],
    ] {
        clean_for_github(&site, args)?;
    }
    write_project(&site)?;
    for args in [
        &["doctor", "--plan", "evil", "--json"][..],
        &["runs", "list", "--json"],
        &["runs", "show", "--json"],
        &["runs", "prune", "--keep", "0", "--dry-run", "--json"],
        &["runs", "export", "latest"],
        &["replay", "latest", "--json"],
        &["lease", "show", "--json"],
        &["run", "--json", "--plan", HOSTILE],
    ] {
        clean_json(&format!("{args:?}"), &site.vdeploy(args)?)?;
    }
    Ok(())
}

fn inspect(base: &Base) -> Result<()> {
    let site = base.site()?;
    let path = hostile_component(site.dir())?.display().to_string();
    let ran = site
        .vdeploy(&["plugin", "inspect", &path])?
        .expect_code(0)?;
    clean("inspect", &ran)?;
    let digests = ran.stdout.lines().filter(|l| l.starts_with("digest    "));
    ensure!(digests.count() == 1, "{}", ran.stdout);
    ensure!(
        ran.stdout.starts_with("digest    sha256:"),
        "{}",
        ran.stdout
    );
    let own = ["digest", "size", "imports", "undo"];
    for line in ran.stdout.lines().filter(|line| !line.starts_with(' ')) {
        let known = line.is_empty()
            || line.ends_with(':')
            || own.iter().any(|word| line.starts_with(word))
            || line.starts_with("powers (");
        ensure!(
            known,
            "a line of the plugin at the left edge:\n{}",
            ran.stdout
        );
    }
    let json = site.vdeploy(&["plugin", "inspect", "--json", &path])?;
    let values = clean_json("inspect --json", &json.expect_code(0)?)?;
    let summary = values.first().and_then(|v| v.get("summary"));
    ensure!(summary == Some(&json!(HOSTILE)), "{summary:?}");
    Ok(())
}

fn project_file(base: &Base) -> Result<()> {
    let site = base.site()?;
    let text = toml_text(HOSTILE);
    for more in [
        format!("{text} = 1\n"),
        format!("[plans.{text}]\nextends = \"default\"\n"),
        format!("[plans.p]\nextends = {text}\n"),
        format!("[plans.p]\non-failure = {text}\n"),
        format!("[plugins.p]\nsource = {text}\n"),
        format!("[plugins.p.grants]\nssh = [{text}]\nhttp = [{text}]\nsecrets = [{text}]\n"),
        format!("[targets.t]\ntype = {text}\n{text} = 1\n"),
        format!(
            "[plans.default]\nextends = \"default\"\n[[plans.default.step]]\nid = \"restart\"\n\
             config = {{ {text} = {text} }}\n"
        ),
        "a = \"\u{1b}[8m\u{202e}\"\nb = \u{1b}[2J\n".to_owned(),
    ] {
        site.write_project(&more)?;
        let ran = site
            .vdeploy(&["plan", "check", "default"])?
            .expect_code(2)?;
        clean(&more, &ran)?;
        ensure!(
            ran.stderr.contains("vdeploy.toml:"),
            "{more}: {}",
            ran.stderr
        );
        clean_json(&more, &site.vdeploy(&["doctor", "--json"])?)?;
    }
    Ok(())
}
