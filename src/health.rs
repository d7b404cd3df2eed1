//! How a role is: what a container's health check runs, where there is no curl.

use std::process::ExitCode;

use clap::Args;
use futures::future::LocalBoxFuture;

use crate::http::HttpArgs;

/// Settings of `millrace health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Where the role says how it is: http(s)://host:port, of an API where it listens, of the others their
    /// `MILLRACE_HEALTH_LISTEN`.
    pub role: String,
    /// TLS to it.
    #[command(flatten)]
    pub http: HttpArgs,
}

/// Prints what the role says; a failure if it is not ready.
///
/// # Errors
/// It says nothing.
pub fn run(args: HealthArgs) -> LocalBoxFuture<'static, anyhow::Result<ExitCode>> {
    Box::pin(async move {
        let answer = args.http.shop(&args.role).await?.get("/readyz").await?;
        println!("{}", answer.body);
        Ok(if answer.status.is_success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}
