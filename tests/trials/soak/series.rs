//! Figures over time: whether they grow, and a table of them.

use std::fmt::Write as _;

/// What is expected of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// It must not grow: the median of the last fifth is at most so much, in
    /// parts of a hundred and in its unit, above that of the first fifth.
    Steady {
        /// Parts of a hundred.
        percent: f64,
        /// In its unit.
        more: f64,
    },
    /// It grows, for this reason.
    Grows(&'static str),
    /// Only shown.
    Shown,
}

/// One figure over time.
#[derive(Debug)]
pub struct Series {
    name: &'static str,
    expected: Expected,
    values: Vec<f64>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Table(Vec<Series>);

impl Table {
    /// Keeps a value.
    pub fn keep(&mut self, name: &'static str, expected: Expected, value: f64) {
        if let Some(series) = self.0.iter_mut().find(|series| series.name == name) {
            series.values.push(value);
            return;
        }
        self.0.push(Series {
            name,
            expected,
            values: vec![value],
        });
    }

    /// The newest values in one line.
    pub fn newest(&self) -> String {
        let newest = |series: &Series| {
            let last = series.values.last().copied().unwrap_or_default();
            format!("{} {last:.1}", series.name)
        };
        self.0.iter().map(newest).collect::<Vec<_>>().join("; ")
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut text = "| figure | first | last | max | |\n|---|---:|---:|---:|---|\n".to_owned();
        for series in &self.0 {
            let first = series.values.first().copied().unwrap_or_default();
            let last = series.values.last().copied().unwrap_or_default();
            let max = series.values.iter().copied().fold(0.0, f64::max);
            let verdict = match (series.expected, series.growth()) {
                (Expected::Grows(why), _) => format!("grows by design: {why}"),
                (Expected::Shown, _) => String::new(),
                (_, Some(growth)) => format!("GROWS: {growth}"),
                _ => "steady".to_owned(),
            };
            let _ = writeln!(
                text,
                "| {} | {first:.1} | {last:.1} | {max:.1} | {verdict} |",
                series.name
            );
        }
        text
    }

    /// What grows and should not.
    pub fn growing(&self) -> Vec<String> {
        let growing = |series: &Series| Some(format!("{}: {}", series.name, series.growth()?));
        self.0.iter().filter_map(growing).collect()
    }
}

impl Series {
    fn growth(&self) -> Option<String> {
        let Expected::Steady { percent, more } = self.expected else {
            return None;
        };
        let (first, last) = ends(&self.values)?;
        let most = first * (1.0 + percent / 100.0) + more;
        (last > most)
            .then(|| format!("from {first:.1} to {last:.1}, at most {most:.1} was expected"))
    }
}

/// The medians of the first and of the last fifth, without the warm-up: the
/// first tenth. None of too few values.
fn ends(values: &[f64]) -> Option<(f64, f64)> {
    let warm = values.get(values.len().div_ceil(10)..)?;
    let fifth = warm.len() / 5;
    if fifth == 0 {
        return None;
    }
    let first = median(warm.get(..fifth)?)?;
    let last = median(warm.get(warm.len() - fifth..)?)?;
    Some((first, last))
}

/// The one in the middle; of two the mean.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => Some(f64::midpoint(
            *sorted.get(middle.checked_sub(1)?)?,
            *sorted.get(middle)?,
        )),
        _ => sorted.get(middle).copied(),
    }
}

/// Whether the table tells growth from noise; asked before each soak.
pub fn self_check() -> bool {
    let grows = |values: &[f64]| {
        let mut table = Table::default();
        let expected = Expected::Steady {
            percent: 20.0,
            more: 1.0,
        };
        for value in values {
            table.keep("x", expected, *value);
        }
        !table.growing().is_empty()
    };
    let count = |n: i32| (0..n).map(f64::from).collect::<Vec<_>>();
    let noise: Vec<f64> = count(20).iter().map(|n| 50.0 + n % 3.0).collect();
    let warm: Vec<f64> = count(20)
        .iter()
        .map(|n| if *n < 2.0 { 5.0 } else { 50.0 })
        .collect();
    let leak: Vec<f64> = count(20).iter().map(|n| 50.0 + n).collect();
    !grows(&noise) && !grows(&warm) && grows(&leak) && grows(&count(20))
}
