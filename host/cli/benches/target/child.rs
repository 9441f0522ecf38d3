//! This program again as a process of its own, so that its peak memory is that
//! of one thing only.

use super::ours::{Ours, Place};
use anyhow::{Context as _, Result, bail};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Text like that of a build, `size` bytes of it.
pub fn printing(size: usize) -> [String; 3] {
    let line = "src/server.ts(42,7): warning TS6133: 'unused' is declared but never read";
    ["sh", "-c", &format!("yes \"{line}\" | head -c {size}")].map(str::to_owned)
}

/// How often the memory of another process is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What a process needed.
pub struct Needed {
    pub wall: Duration,
    pub cpu: Duration,
    pub peak_kib: u64,
}

impl Needed {
    fn print(&self) {
        println!(
            "{} {} {}",
            self.wall.as_micros(),
            self.cpu.as_micros(),
            self.peak_kib
        );
    }

    /// Starts this program again with `args` and reads what it prints.
    pub fn of_child(args: &[String]) -> Result<Self> {
        let out = Command::new(std::env::current_exe()?)
            .arg("--child")
            .args(args)
            .stderr(Stdio::inherit())
            .output()?;
        let text = String::from_utf8(out.stdout)?;
        let words: Option<Vec<u64>> = text.split_whitespace().map(|w| w.parse().ok()).collect();
        match words.as_deref() {
            Some(&[wall, cpu, peak_kib]) if out.status.success() => Ok(Self {
                wall: Duration::from_micros(wall),
                cpu: Duration::from_micros(cpu),
                peak_kib,
            }),
            _ => bail!("the child said {text:?}, {}", out.status),
        }
    }
}

/// `ours ADDRESS DIR USER SIZE`, or `run PROGRAM ARGS`.
pub fn main(args: &[String]) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["ours", address, dir, user, size] => {
            let place = Place {
                tls: address.parse()?,
                dir: dir.into(),
                user: (*user).to_owned(),
            };
            let size = size.parse()?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            let wall = runtime.block_on(async {
                let ours = Ours::new(&place)?;
                let began = Instant::now();
                let words = printing(size);
                let [program, args @ ..] = words.each_ref().map(String::as_str);
                ours.probe(program, &args).await?;
                ours.close().await;
                anyhow::Ok(began.elapsed())
            })?;
            let own = std::process::id();
            Needed {
                wall,
                cpu: cpu(Whose::Own)?,
                peak_kib: peak_kib(own).context("no peak memory in /proc")?,
            }
            .print();
            Ok(())
        }
        ["run", program, args @ ..] => {
            let began = Instant::now();
            let mut child = Command::new(program)
                .args(args)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .with_context(|| (*program).to_owned())?;
            // The peak only grows, and is gone with the process.
            let mut peak = 0;
            let status = loop {
                peak = peak.max(peak_kib(child.id()).unwrap_or(0));
                match child.try_wait()? {
                    Some(status) => break status,
                    None => std::thread::sleep(LOOK),
                }
            };
            let wall = began.elapsed();
            anyhow::ensure!(status.success(), "{program}: {status}");
            Needed {
                wall,
                cpu: cpu(Whose::Children)?,
                peak_kib: peak,
            }
            .print();
            Ok(())
        }
        other => bail!("unknown child: {other:?}"),
    }
}

/// Whose processor time.
enum Whose {
    Own,
    Children,
}

/// From `/proc/self/stat`, in its unit of 10 ms.
fn cpu(whose: Whose) -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    // User and system time are fields 14 and 15, of the children 16 and 17.
    let skip = match whose {
        Whose::Own => 11,
        Whose::Children => 13,
    };
    let ticks = fields.split_whitespace().skip(skip).take(2);
    let ticks: u64 = ticks.filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// The most memory that the process had at once.
fn peak_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
