//! One command that prints much, from connecting to its end.

use super::child::{Needed, printing};
use super::samples::{Samples, head, row};
use super::sshd::Sshd;
use anyhow::Result;
use vdeploy_core::capability::quote::sh;

#[derive(Default)]
struct Side {
    wall: Samples,
    cpu: Samples,
    peak_kib: u64,
}

impl Side {
    fn add(&mut self, needed: &Needed) {
        self.wall.add(needed.wall);
        self.cpu.add(needed.cpu);
        self.peak_kib = self.peak_kib.max(needed.peak_kib);
    }
}

pub fn measure(sshd: &Sshd, quick: bool) -> Result<()> {
    head(
        "One command that prints lines, connecting included",
        &[
            "output",
            "way",
            "time, ms",
            "least, ms",
            "client CPU, ms",
            "peak memory, MB",
            "ratio to ssh",
        ],
    );
    let turns = if quick { 3 } else { 9 };
    for megabytes in [10, 100] {
        let size = megabytes * 1_000_000;
        let [mut ours, mut theirs] = [(); 2].map(|()| Side::default());
        for turn in 0..=turns {
            let needed = [
                Needed::of_child(&[
                    "ours".to_owned(),
                    sshd.near.tls.to_string(),
                    sshd.dir().display().to_string(),
                    sshd.user.clone(),
                    size.to_string(),
                ])?,
                Needed::of_child(&ssh(sshd, size))?,
            ];
            if turn > 0 {
                for (side, needed) in [&mut ours, &mut theirs].iter_mut().zip(&needed) {
                    side.add(needed);
                }
            }
        }
        for (what, side) in [("vdeploy", &ours), ("ssh", &theirs)] {
            row(&[
                format!("{megabytes} MB"),
                what.to_owned(),
                format!("{:.0}", side.wall.median()),
                format!("{:.0}", side.wall.least()),
                format!("{:.0}", side.cpu.median()),
                format!("{:.0}", side.peak_kib as f64 / 1e3),
                format!("{:.2}", side.wall.ratio(&theirs.wall)),
            ]);
        }
    }
    Ok(())
}

fn ssh(sshd: &Sshd, size: usize) -> Vec<String> {
    let ssh = sshd.ssh(sshd.near);
    let mut args = vec!["run".to_owned()];
    for word in std::iter::once(ssh.get_program()).chain(ssh.get_args()) {
        args.push(word.to_string_lossy().into_owned());
    }
    args.push(sshd.destination());
    let words = printing(size).map(|word| sh(&word).to_string());
    args.push(words.join(" "));
    args
}
