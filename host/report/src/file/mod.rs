//! Reports that a run leaves as a file: each is a pure function of the run's
//! model and one row of [`FILE_REPORTS`](crate::FILE_REPORTS).

pub mod atomic_file;
pub mod junit;

use crate::{Reporter, RunModel, Sink};
use atomic_file::Readers;
use std::io;
use std::path::{Path, PathBuf};
use vdeploy_core::event::RunEvent;

/// A kind of file. `--FLAG FILE` asks for one.
#[derive(Clone, Copy, Debug)]
pub struct FileReport {
    pub flag: &'static str,
    pub help: &'static str,
    /// Called with an empty model before the run: that text is what a killed
    /// run leaves, so it must say that the run did not finish.
    pub render: fn(&RunModel) -> String,
}

/// Writes the file at the end of a run.
#[derive(Debug)]
pub struct FileReporter {
    report: FileReport,
    path: PathBuf,
    warnings: Sink,
}

impl FileReporter {
    /// Writes the file that a killed run leaves. A failure at the end of the run
    /// is a line on `warnings`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(report: FileReport, path: &Path, warnings: Sink) -> io::Result<Self> {
        let killed = (report.render)(&RunModel::default());
        atomic_file::write(path, &killed, Readers::Others)?;
        Ok(Self {
            report,
            path: path.to_owned(),
            warnings,
        })
    }
}

impl Reporter for FileReporter {
    fn event(&mut self, model: &RunModel, event: &RunEvent) {
        let RunEvent::RunFinished { .. } = event else {
            return;
        };
        let text = (self.report.render)(model);
        if let Err(error) = atomic_file::write(&self.path, &text, Readers::Others) {
            let path = self.path.display();
            self.warnings
                .line(&format!("warning: cannot write {path}: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FILE_REPORTS;
    use crate::script::{self, Show};
    use crate::sink::tests::Kept;
    use std::fs;
    use vdeploy_core::event::Outcome;

    #[test]
    fn every_kind_says_from_the_start_that_the_run_did_not_finish() {
        for report in FILE_REPORTS {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("report");
            let mut reporter = FileReporter::create(*report, &path, Sink::stderr()).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains("did not finish"), "{text}");
            let mut events = script::success();
            let last = events.pop().unwrap();
            let mut model = RunModel::default();
            reporter.show_with(&mut model, &events);
            assert_eq!(fs::read_to_string(&path).unwrap(), text, "{}", report.flag);
            reporter.show_with(&mut model, &[last]);
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains("did not finish"), "{text}");
            assert!(text.contains("smoke"), "{text}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_before_the_run_and_a_warning_after_it() {
        let report = crate::FILE_REPORTS[0];
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("no/such/dir/report");
        assert!(FileReporter::create(report, &missing, Sink::stderr()).is_err());

        let path = dir.path().join("gone/report");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let warnings = Kept::default();
        let mut reporter =
            FileReporter::create(report, &path, Sink::new(warnings.clone())).unwrap();
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        reporter.show(&[script::finished(Outcome::Deployed, 0, "", &[])]);
        assert!(warnings.text().starts_with("warning: cannot write "));
    }
}
