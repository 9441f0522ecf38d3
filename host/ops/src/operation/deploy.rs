//! A plan of the project on a target.

use super::Deploy;
use crate::error::OpsError;
use crate::prepare::{NewRun, Prepared};
use crate::session::Session;

impl Deploy {
    pub(crate) async fn prepare(self, session: &Session) -> Result<Prepared, OpsError> {
        let mut plan = session.plan(&self.plan)?;
        if let Some(policy) = self.on_failure {
            vdeploy_config::apply_on_failure(&mut plan, policy)?;
        }
        if let Some(to) = self.rollback_to {
            plan.rollback_to = to;
        }
        let new = NewRun {
            id: self.run,
            plan,
            target: self.target,
            reference: self.reference,
            set: self.set,
            dry_run: self.dry_run,
            without_snapshot: self.without_snapshot,
            rolls_back: None,
            wait: self.wait,
        };
        new.prepare(session).await
    }
}
