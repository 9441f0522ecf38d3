//! What an operator has without vdeploy: one shell that is kept open, and a
//! process a command over one connection.

use super::sshd::{Sshd, Way};
use anyhow::{Result, ensure};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What connecting took, and what followed.
pub struct Took {
    pub connect: Duration,
    pub commands: Duration,
}

/// `ssh host sh`, one line at a time, its status read before the next. The
/// floor of every tool that decides after each step.
pub fn shell(sshd: &Sshd, way: Way, count: usize) -> Result<Took> {
    let began = Instant::now();
    let mut ssh = sshd
        .ssh(way)
        .arg(sshd.destination())
        .arg("sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(mut to), Some(from)) = (ssh.stdin.take(), ssh.stdout.take()) else {
        anyhow::bail!("ssh without pipes");
    };
    let mut from = BufReader::new(from);
    let mut ask = |line: &str| -> Result<()> {
        to.write_all(line.as_bytes())?;
        let mut status = String::new();
        from.read_line(&mut status)?;
        ensure!(status == "0\n", "{line}: {status:?}");
        Ok(())
    };
    ask("echo 0\n")?;
    let connect = began.elapsed();
    let began = Instant::now();
    for _ in 0..count {
        ask("true; echo $?\n")?;
    }
    let commands = began.elapsed();
    drop(to);
    ensure!(ssh.wait()?.success());
    Ok(Took { connect, commands })
}

/// A process a command over the connection of a master.
pub fn control_master(sshd: &Sshd, way: Way, count: usize) -> Result<Took> {
    let socket = sshd.file("control");
    let began = Instant::now();
    let master = sshd
        .ssh(way)
        .args(["-M", "-N", "-f", "-S"])
        .arg(&socket)
        .arg(sshd.destination())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(master.success(), "the master: {master}");
    let connect = began.elapsed();
    let began = Instant::now();
    for _ in 0..count {
        let status = sshd
            .ssh(way)
            .arg("-S")
            .arg(&socket)
            .args([&sshd.destination(), "true"])
            .stdin(Stdio::null())
            .status()?;
        ensure!(status.success(), "{status}");
    }
    let commands = began.elapsed();
    let end = sshd
        .ssh(way)
        .arg("-S")
        .arg(&socket)
        .args(["-O", "exit", &sshd.destination()])
        .stderr(Stdio::null())
        .status()?;
    ensure!(end.success(), "the end of the master: {end}");
    Ok(Took { connect, commands })
}
