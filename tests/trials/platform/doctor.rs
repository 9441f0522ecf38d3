//! `vdeploy doctor` on this platform: conditions that the local cloud does not
//! have.

use crate::platform::Test;
use crate::platform::check::break_target;
use crate::platform::row::TargetFault;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use vdeploy_tests::Ran;
use vdeploy_tests::platform::fault::{ApiFault, Call, How};
use vdeploy_tests::platform::{Kind, Place, World};

pub const TRIALS: &[Test] = &[
    ("doctor::a_slow_api_is_a_warning", slow),
    (
        "doctor::an_api_that_fails_is_told_without_its_page",
        failing,
    ),
    ("doctor::an_sshd_that_refuses_the_login_is_22", refused),
    ("doctor::a_front_without_an_sshd_behind_it_is_22", closed),
    ("doctor::no_free_inodes_are_refused", inodes),
    ("doctor::a_clock_that_is_off_is_a_warning", clock),
];

fn doctor(place: &Place<'_>) -> Result<Ran> {
    place.vdeploy(&["doctor", "--json"])
}

/// Insists that a check of this step (none for the host's own) ended so, says
/// this, and what to do.
fn expect(ran: &Ran, step: Option<&str>, name: &str, status: &str, says: [&str; 2]) -> Result<()> {
    let word = |event: &Value, key: &str| {
        let found = event.get(key).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let of = |event: &Value| {
        word(event, "name") == name && event.get("step").and_then(Value::as_str) == step
    };
    let found = ran.events()?.into_iter().find(of);
    let found = found.with_context(|| format!("no check `{name}` in\n{}", ran.text()))?;
    ensure!(word(&found, "status") == status, "{found}");
    ensure!(word(&found, "detail").contains(says[0]), "{found}");
    ensure!(word(&found, "fix").contains(says[1]), "{found}");
    Ok(())
}

fn slow(world: &World) -> Result<()> {
    let place = world.place(Kind::Vers, None)?;
    let late = How::Slow(Duration::from_secs(4));
    place.set_faults(&[ApiFault::once(Call::Status, late)], &[]);
    let ran = doctor(&place)?.expect_code(0)?;
    let says = ["answers, but slowly", "the platform is slow now"];
    expect(&ran, None, "Vers API", "warned", says)?;
    // The rest is looked at all the same.
    expect(&ran, None, "login", "passed", ["", ""])
}

fn failing(world: &World) -> Result<()> {
    let place = world.place(Kind::Vers, None)?;
    place.set_faults(&[ApiFault::always(Call::Any, How::Status(502))], &[]);
    let ran = doctor(&place)?.expect_code(22)?;
    let says = ["status 502: a web page, \"", "nothing of yours is wrong"];
    expect(&ran, None, "Vers API", "failed", says)?;
    ensure!(!ran.text().contains("<html"), "{}", ran.text());
    // It fails only once it is asked for the way in.
    place.set_faults(&[ApiFault::always(Call::SshKey, How::Status(503))], &[]);
    let ran = doctor(&place)?.expect_code(22)?;
    let says = ["SSH key of VM", "nothing of yours is wrong"];
    expect(&ran, None, "connection", "failed", says)
}

fn refused(world: &World) -> Result<()> {
    let place = world.place(Kind::Vers, None)?;
    break_target(&place, TargetFault::AuthRefused)?;
    let ran = doctor(&place)?.expect_code(22)?;
    let says = ["does not accept the key", "authorized_keys"];
    expect(&ran, None, "login", "failed", says)?;
    expect(&ran, None, "connection", "passed", ["", ""])?;
    expect(&ran, None, "lease", "skipped", ["login", ""])
}

fn closed(world: &World) -> Result<()> {
    let place = world.place(Kind::Vers, None)?;
    break_target(&place, TargetFault::SshdGone)?;
    let ran = doctor(&place)?.expect_code(22)?;
    let says = ["the connection was closed at the other end", "SSH server"];
    expect(&ran, None, "connection", "failed", says)?;
    ensure!(!ran.text().contains("docs.rs"), "{}", ran.text());
    Ok(())
}

/// `/root` is a file system of its own there, which takes a number of files.
fn inodes(world: &World) -> Result<()> {
    let place = world.place(Kind::Vers, Some(4096))?;
    let vm = place.vm(place.vm)?;
    vm.shell(
        "used=$(df -Pi /root | awk 'NR == 2 { print $3 }') && \
         mount -o remount,nr_inodes=$((used + 20)) /root",
    )?;
    let ran = doctor(&place)?.expect_code(3)?;
    let says = ["more files fit on the disk of", "delete files"];
    expect(&ran, Some("preflight"), "inodes", "failed", says)
}

/// One machine has one clock, so only what the VM says of the time is made up:
/// its `date` is two hours ahead.
fn clock(world: &World) -> Result<()> {
    let place = world.place(Kind::Vers, None)?;
    let vm = place.vm(place.vm)?;
    vm.shell(
        "set -e; real=$(command -v date); test ! -L \"$real\"
         mkdir /tmp/real; cp \"$real\" /tmp/real/date
         cat >/tmp/date <<'END'\n#!/bin/sh\n\
         [ \"$*\" = +%s ] || exec /tmp/real/date \"$@\"\n\
         echo $(($(/tmp/real/date +%s) + 7200))\nEND\n\
         chmod +x /tmp/date; mount --bind /tmp/date \"$real\"",
    )?;
    let ran = doctor(&place)?.expect_code(0)?;
    let says = ["s ahead of this machine's", "until NTP runs"];
    expect(&ran, None, "clock", "warned", says)
}
