//! What the services have written, and whether all is in order that a deployment needs.

use super::application::Application;
use super::error::Error;
use super::place::release_in;
use crate::config::RuntimeConfig;
use crate::context::Context;
use crate::traits::{Finding, LogLine, LogRequest, Severity};

impl Application {
    /// Hands over what the services have written, line by line.
    ///
    /// # Errors
    /// When the service backend keeps nothing, or it cannot be read. [`Error::Cancelled`] when it is
    /// cancelled, which is how following ends.
    pub fn logs(
        &self,
        ctx: &Context,
        request: &LogRequest,
        on_line: &mut dyn FnMut(LogLine),
    ) -> Result<(), Error> {
        let ctx = self.masked(ctx);
        let operation = self.operation(&self.present_runtime()?)?;
        match operation.supervisor.logs(&ctx, request, on_line) {
            Err(_) if ctx.check().is_err() => Ok(ctx.check()?),
            result => Ok(result?),
        }
    }

    /// Looks whether all is in order that a deployment needs and that lies outside of releases. What
    /// is in order is told, too. Changes nothing.
    ///
    /// # Errors
    /// None but [`Error::Cancelled`]: whatever is wrong is a finding.
    pub fn check(&self, ctx: &Context) -> Result<Vec<Finding>, Error> {
        let ctx = self.masked(ctx);
        let operation = match self.operation(&self.config.runtime()) {
            Ok(operation) => operation,
            Err(error) => return Ok(vec![Finding::failure("service", &error).hint(error.hint())]),
        };
        let mut findings = operation.supervisor.inspect(&ctx);
        let is_wrong = |finding: &Finding| finding.severity == Severity::Error;
        if !findings.iter().any(is_wrong)
            && let Err(error) = operation.preflight(&ctx, None)
        {
            findings.push(Finding::failure("service", &error).hint(error.hint()));
        }
        ctx.check()?;
        Ok(findings)
    }

    /// How the service of the active release is run; as a deployment would run it, when there is none.
    fn present_runtime(&self) -> Result<RuntimeConfig, Error> {
        let state = self.state()?;
        let path = self.activator().active()?;
        let found = path.and_then(|path| release_in(&self.layout, &state, &path));
        Ok(found.map_or_else(|| self.config.runtime(), |release| self.present(&state, release)))
    }
}
