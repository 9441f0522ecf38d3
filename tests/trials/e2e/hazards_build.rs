//! Hazards of builds: half-built files, stale files, tests that touch live
//! data, a compiler that is left out, another node.

use crate::e2e::Add;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vdeploy_tests::base::{TOKEN, text};
use vdeploy_tests::{Base, Site};

const QUICK: [&str; 2] = ["--set", "smoke.stable-seconds=0"];

pub fn add(add: &mut Add<'_>) {
    let mut test =
        |name: &str, test| crate::e2e::test(add, &format!("hazards_build::{name}"), test);
    test("a_failed_build_changes_no_live_file", failed_build);
    test("no_file_of_another_build_stays_in_dist", stale_files);
    test("static_files_are_of_the_new_build", static_files);
    test("tests_run_away_from_live_data", tests_away);
    test(
        "the_compiler_is_installed_where_it_is_left_out",
        compiler_left_out,
    );
    test("modules_for_another_node_are_not_reused", other_node);
    test("a_rollback_builds_anew_for_another_node", other_node_back);
}

/// A site whose builds are made by the real compiler: they are looked at.
fn site(base: &Base) -> Result<Site<'_>> {
    let site = base.site()?;
    site.ask_the_compiler()?;
    Ok(site)
}

/// Every file below a directory with its content.
fn files(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.insert(path.clone(), std::fs::read(&path)?);
        }
    }
    Ok(found)
}

/// `tsc` fails and writes all the same.
fn failed_build(base: &Base) -> Result<()> {
    let site = site(base)?;
    let dist = site.app_dir()?.join("dist");
    let before = files(&dist)?;
    site.remote.push_variant("build-breaks")?;
    site.deploy(&QUICK)?.expect_code(11)?;
    ensure!(files(&dist)? == before, "the failed build has changed dist");
    // Started anew from these files, it is still the old version.
    site.vdeploy(&[
        "run",
        "--plan",
        "restart",
        "--set",
        "smoke.stable-seconds=0",
    ])?
    .expect_code(0)?;
    ensure!(site.version().as_deref() == Some("1.0.0"));
    Ok(())
}

fn stale_files(base: &Base) -> Result<()> {
    let site = site(base)?;
    let extra = site.app_dir()?.join("dist/extra.js");
    let version = (
        "src/version.ts",
        "export const VERSION: string = \"2.0.0-extra\";\n",
    );
    let source = ("src/extra.ts", "export const EXTRA: string = \"extra\";\n");
    site.remote.push_files("extra", &[version, source])?;
    site.deploy(&QUICK)?.expect_code(0)?;
    ensure!(extra.is_file());
    site.vdeploy(&["rollback"])?.expect_code(0)?;
    ensure!(site.version().as_deref() == Some("1.0.0"));
    ensure!(!extra.exists(), "a file of the newer build stayed");
    // Forward it is the same: each build starts empty.
    site.deploy(&QUICK)?.expect_code(0)?;
    ensure!(extra.is_file());
    site.remote.push_variant("good-v2")?;
    site.deploy(&QUICK)?.expect_code(0)?;
    ensure!(!extra.exists(), "a file of the older build stayed");
    Ok(())
}

/// What `postbuild` copies goes live with the rest.
fn static_files(base: &Base) -> Result<()> {
    let site = site(base)?;
    site.remote.push_variant("good-v2")?;
    site.deploy(&QUICK)?.expect_code(0)?;
    let wanted = vdeploy_tests::fixtures().join("variants/good-v2/src/ui/static/app.js");
    let (status, script) = site.get(&site.vm, "/ui/static/app.js", None)?;
    ensure!(
        status == 200 && script == std::fs::read_to_string(wanted)?,
        "{script}"
    );
    site.vdeploy(&["rollback"])?.expect_code(0)?;
    let old = vdeploy_tests::fixtures().join("agent-services/src/ui/static/app.js");
    let (status, script) = site.get(&site.vm, "/ui/static/app.js", None)?;
    ensure!(
        status == 200 && script == std::fs::read_to_string(old)?,
        "{script}"
    );
    Ok(())
}

fn package(change: impl FnOnce(&mut serde_json::Value)) -> Result<String> {
    let path = vdeploy_tests::fixtures().join("agent-services/package.json");
    let mut package = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    change(&mut package);
    Ok(serde_json::to_string_pretty(&package)?)
}

/// The test of this version empties `data` where it runs, as a suite with
/// module-level stores does.
fn tests_away(base: &Base) -> Result<()> {
    let site = site(base)?;
    site.add_task("keep me")?;
    let test = "node -e \"fs.rmSync('data', {recursive: true, force: true}); fs.mkdirSync('data'); fs.writeFileSync('data/tested', '')\"";
    let package = package(|package| {
        if let Some(script) = package.pointer_mut("/scripts/test") {
            *script = test.into();
        }
    })?;
    site.remote
        .push_files("wipes-data", &[("package.json", &package)])?;
    site.deploy(&[
        "--set",
        "npm-build.test=npm test",
        "--set",
        "smoke.stable-seconds=0",
    ])?
    .expect_code(0)?
    .expect_text("npm test")?;
    let (_, board) = site.get(&site.vm, "/board/tasks", Some(TOKEN))?;
    ensure!(board.contains("keep me"), "{board}");
    ensure!(!site.app_dir()?.join("data/tested").exists());
    Ok(())
}

/// The user's npm leaves out development dependencies, as NODE_ENV=production
/// and `npm install --production` do.
fn compiler_left_out(base: &Base) -> Result<()> {
    let site = site(base)?;
    std::fs::write(site.home(&site.vm)?.join(".npmrc"), "omit=dev\n")?;
    site.remote.push_variant("good-v2")?;
    site.deploy(&[
        "--set",
        "npm-build.reuse-modules=false",
        "--set",
        "smoke.stable-seconds=0",
    ])?
    .expect_code(0)?;
    ensure!(site.version().as_deref() == Some("2.0.0"));
    // The staging directory is inside the checkout, so npm finds the compiler of
    // the build before as well: this build must have one of its own.
    let compiler = site.app_dir()?.join("node_modules/typescript/package.json");
    ensure!(compiler.is_file(), "the compiler was left out");
    Ok(())
}

/// A version whose modules load only under the node that installed them, as
/// one with native code does.
fn push_native(site: &Site<'_>, version: &str) -> Result<String> {
    let package = package(|package| {
        if let Some(scripts) = package
            .pointer_mut("/scripts")
            .and_then(|s| s.as_object_mut())
        {
            let note =
                "node -e \"fs.writeFileSync('node_modules/.abi', process.versions.modules)\"";
            scripts.insert("postinstall".to_owned(), note.into());
        }
    })?;
    let source = format!(
        "import {{ readFileSync }} from \"node:fs\";\n\
         if (readFileSync(\"node_modules/.abi\", \"utf8\") !== process.versions.modules) {{\n  \
         throw new Error(\"was compiled against a different Node.js version\");\n}}\n\
         export const VERSION: string = \"{version}\";\n"
    );
    let files = [
        ("package.json", package.as_str()),
        ("src/version.ts", source.as_str()),
    ];
    site.remote.push_files(version, &files)
}

/// Gives the VM a node of another major version: the real program, from the
/// registry that the builds use.
fn change_node(base: &Base, site: &Site<'_>) -> Result<()> {
    let node = base.other_node()?;
    let dir = site.home(&site.vm)?.join(".node");
    std::fs::create_dir(&dir)?;
    std::os::unix::fs::symlink(node, dir.join("node"))?;
    Ok(())
}

fn other_node(base: &Base) -> Result<()> {
    let site = site(base)?;
    push_native(&site, "2.0.0-a")?;
    site.deploy(&QUICK)?.expect_code(0)?;
    change_node(base, &site)?;
    // Without a build nothing would start again, so nothing is stopped.
    let ran = site
        .vdeploy(&["run", "--plan", "restart", "--json"])?
        .expect_code(11)?;
    let message = text(&ran.event("run-finished")?, "message")?;
    ensure!(message.contains("were installed with node v"), "{message}");
    ensure!(site.version().as_deref() == Some("2.0.0-a"));
    push_native(&site, "2.0.0-b")?;
    site.deploy(&QUICK)?
        .expect_code(0)?
        .expect_text("modules installed")?;
    ensure!(site.version().as_deref() == Some("2.0.0-b"));
    Ok(())
}

fn other_node_back(base: &Base) -> Result<()> {
    let site = site(base)?;
    push_native(&site, "2.0.0-a")?;
    site.deploy(&QUICK)?.expect_code(0)?;
    change_node(base, &site)?;
    site.remote.push_variant("wrong-json")?;
    site.deploy(&QUICK)?
        .expect_code(11)?
        .expect_text("is built again")?;
    ensure!(
        site.version().as_deref() == Some("2.0.0-a"),
        "{:?}",
        site.version()
    );
    Ok(())
}
