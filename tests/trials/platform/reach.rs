//! How any server is reached and left: by an alias of the user's OpenSSH
//! configuration, with a host key that is known or not, over a connection that
//! breaks, and not at all where there would be no rollback point.

use crate::platform::row::OLD;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::net::TcpStream;
use std::time::Duration;
use vdeploy_tests::Wire;
use vdeploy_tests::base::wait_for;
use vdeploy_tests::binary::run;
use vdeploy_tests::platform::{Kind, Place, World};

/// A trial beside the table.
pub type Test = fn(&World) -> Result<()>;

pub const TRIALS: &[(&str, Test)] = &[
    ("ssh::without-a-way-back-nothing-is-connected", no_way_back),
    (
        "ssh::an-unknown-host-key-is-22-and-says-what-to-write",
        unknown_key,
    ),
    ("ssh::an-alias-of-the-users-configuration", alias),
    ("ssh::a-connection-cut-during-the-build-ends-deployed", cut),
];

const UNSAVED: &[&str] = &["--without-snapshot", "a test"];

fn no_way_back(world: &World) -> Result<()> {
    let place = world.place(Kind::Ssh, None)?;
    place.remote.push_variant("good-v2")?;
    let vm = place.vm(place.vm)?;
    let before = vm.connections()?;
    let args = ["run", "--plan", "default", "--json"];
    let ran = place.vdeploy(&args)?.expect_code(3)?;
    let ran = ran.expect_text("--without-snapshot")?;
    let ran = ran.expect_text("default-ssh")?;
    ran.expect_text("nothing was touched")?;
    let args = ["run", "--plan", "default", "--without-snapshot", " "];
    place
        .vdeploy(&args)?
        .expect_code(2)?
        .expect_text("reason")?;
    // The server writes a line for each connection, in their order: whatever
    // came before this one is there when this one is.
    let own = TcpStream::connect(("127.0.0.1", place.ssh_port()?))?;
    let after = wait_for("a line of sshd", Duration::from_secs(60), || {
        vm.connections().ok().filter(|count| *count > before)
    })?;
    drop(own);
    ensure!(after == before + 1, "{} connections", after - before - 1);
    is_live(&place, OLD)
}

fn is_live(place: &Place<'_>, version: &str) -> Result<()> {
    let live = place.version(place.vm).unwrap_or_default();
    ensure!(live == version, "`{live}` is live instead of `{version}`");
    Ok(())
}

fn unknown_key(world: &World) -> Result<()> {
    let place = world.place(Kind::Ssh, None)?;
    place.remote.push_variant("good-v2")?;
    let vm = place.vm(place.vm)?;
    let target = format!(
        "type = \"ssh\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"root\"\n\
         identity-file = \"{}\"\nagent = false\nurl = \"{}\"\n",
        place.ssh_port()?,
        vm.key_file().display(),
        place.door(place.vm)?
    );
    place.write_target(&target, "")?;
    let mut args = vec!["run", "--plan", "default"];
    args.extend(UNSAVED);
    let ran = place.vdeploy(&args)?.expect_code(22)?;
    let key = vm.host_key()?;
    ran.expect_text(&key)?.expect_text("host-key = ")?;
    is_live(&place, OLD)?;
    let kept = place.dir().join(".ssh");
    ensure!(!kept.exists(), "{} was made", kept.display());
    // What it says to write is enough.
    let target = format!("{target}host-key = \"{key}\"\n");
    place.write_target(&target, "")?;
    place.vdeploy(&["run", "--plan", "smoke"])?.expect_code(0)?;
    Ok(())
}

/// Nothing but a name stands in the project; the rest is the user's own.
fn alias(world: &World) -> Result<()> {
    let place = world.place(Kind::Ssh, None)?;
    place.remote.push_variant("good-v2")?;
    let vm = place.vm(place.vm)?;
    let port = place.ssh_port()?;
    let ssh = place.dir().join(".ssh");
    fs::create_dir(&ssh)?;
    let include = ssh.join("servers").display().to_string();
    let config = format!("Include {include}\nHost *\n  User nobody\n");
    fs::write(ssh.join("config"), config)?;
    let servers = format!(
        "Host infra-*\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  \
         IdentityFile {}\n  HostKeyAlias the-infra-server\n",
        vm.key_file().display()
    );
    fs::write(ssh.join("servers"), servers)?;
    let public = vm.machine.path("/etc/ssh/host_key.pub");
    let public = fs::read_to_string(public)?;
    fs::write(
        ssh.join("known_hosts"),
        format!("the-infra-server {public}"),
    )?;
    // OpenSSH itself takes it so.
    run(std::process::Command::new("ssh")
        .args(["-o", "BatchMode=yes", "-F"])
        .arg(ssh.join("config"))
        .arg("-o")
        .arg(format!(
            "UserKnownHostsFile={}",
            ssh.join("known_hosts").display()
        ))
        .args(["infra-one", "true"])
        .env("HOME", place.dir()))
    .context("ssh itself")?;
    let url = place.door(place.vm)?;
    place.write_target(
        &format!("type = \"ssh\"\nhost = \"infra-one\"\nurl = \"{url}\"\n"),
        "",
    )?;
    let mut args = vec!["run", "--plan", "default", "--json"];
    args.extend(UNSAVED);
    place.vdeploy(&args)?.expect_code(0)?;
    is_live(&place, "2.0.0")
}

fn cut(world: &World) -> Result<()> {
    let place = world.place(Kind::Ssh, None)?;
    place.remote.push_variant("good-v2")?;
    let vm = place.vm(place.vm)?;
    let wire = Wire::to(&format!("127.0.0.1:{}", place.ssh_port()?))?;
    let port = wire.address.rsplit(':').next().context("no port")?;
    let target = format!(
        "type = \"ssh\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"root\"\n\
         identity-file = \"{}\"\nagent = false\nssh-config = false\n\
         host-key = \"{}\"\nurl = \"{}\"\n",
        vm.key_file().display(),
        vm.host_key()?,
        place.door(place.vm)?
    );
    place.write_target(&target, "")?;
    let args = ["run", "--plan", "default-ssh", "--json"];
    let (ran, cut) = wire.cut_in_each_build(&mut place.command(&args))?;
    let ran = ran.expect_code(0)?;
    ran.event("snapshot-taken")?;
    ensure!(cut >= 2, "only {cut} connections were cut");
    is_live(&place, "2.0.0")?;
    let left = vm.shell("ls .vdeploy/jobs")?;
    ensure!(left.is_empty(), "files of jobs are left: {left}");
    let holder = vm.lease()?;
    ensure!(holder == "-", "run {holder} still has the lease");
    Ok(())
}
