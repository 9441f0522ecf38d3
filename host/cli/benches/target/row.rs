//! 20 commands that do nothing, the status of each awaited before the next.

use super::ours::{Ours, Place};
use super::samples::{Samples, head, row};
use super::sshd::{Sshd, Way};
use super::theirs::{self, Took};
use anyhow::Result;
use std::time::Instant;

const COUNT: usize = 20;

#[derive(Default)]
struct Side {
    connect: Samples,
    commands: Samples,
    both: Samples,
}

impl Side {
    fn add(&mut self, took: &Took) {
        self.connect.add(took.connect);
        self.commands.add(took.commands);
        self.both.add(took.connect + took.commands);
    }
}

pub fn measure(sshd: &Sshd, quick: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    head(
        "20 commands that do nothing, each awaited",
        &[
            "round trip",
            "way",
            "connect, ms",
            "20 commands, ms",
            "a command, ms",
            "least, ms",
            "ratio to the shell, commands",
            "ratio, with connecting",
        ],
    );
    for (name, way, turns) in [("0", sshd.near, 15), ("50 ms", sshd.far, 7)] {
        let turns = if quick { 3 } else { turns };
        let [mut ours, mut changes, mut shell, mut master] = [(); 4].map(|()| Side::default());
        for turn in 0..=turns {
            let took = [
                runtime.block_on(commands(sshd, way, true))?,
                runtime.block_on(commands(sshd, way, false))?,
                theirs::shell(sshd, way, COUNT)?,
                theirs::control_master(sshd, way, COUNT)?,
            ];
            // The first turn warms files and name caches.
            if turn > 0 {
                let sides = [&mut ours, &mut changes, &mut shell, &mut master];
                for (side, took) in sides.into_iter().zip(&took) {
                    side.add(took);
                }
            }
        }
        for (what, side) in [
            ("vdeploy, probes", &ours),
            ("vdeploy, changes", &changes),
            ("one shell kept open", &shell),
            ("ControlMaster", &master),
        ] {
            let commands = side.commands.median();
            row(&[
                name.to_owned(),
                what.to_owned(),
                format!("{:.1}", side.connect.median()),
                format!("{commands:.1}"),
                format!("{:.2}", commands / COUNT as f64),
                format!("{:.1}", side.commands.least()),
                format!("{:.2}", side.commands.ratio(&shell.commands)),
                format!("{:.2}", side.both.ratio(&shell.both)),
            ]);
        }
    }
    Ok(())
}

async fn commands(sshd: &Sshd, way: Way, probes: bool) -> Result<Took> {
    let ours = Ours::new(&Place::of(sshd, way))?;
    let began = Instant::now();
    ours.connect().await?;
    let connect = began.elapsed();
    let began = Instant::now();
    for _ in 0..COUNT {
        match probes {
            true => ours.probe("true", &[]).await?,
            false => ours.change("true", &[]).await?,
        }
    }
    let commands = began.elapsed();
    ours.close().await;
    Ok(Took { connect, commands })
}
