//! How a role is: what a container's health check runs, where there is no curl.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use futures::future::LocalBoxFuture;

use crate::http::HttpArgs;

/// Settings of `millrace health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Where the role says how it is: http(s)://host:port, of an API where it listens, of the others their
    /// `MILLRACE_HEALTH_LISTEN`. Without it, the role on this machine that has the same environment.
    pub role: Option<String>,
    /// Where an API listens.
    #[arg(long, env = "MILLRACE_LISTEN")]
    pub listen: Option<String>,
    /// Where another role says how it is.
    #[arg(long, env = "MILLRACE_HEALTH_LISTEN")]
    pub health_listen: Option<String>,
    /// The certificate that the API shows there, if it does.
    #[arg(long, env = "MILLRACE_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// TLS to it.
    #[command(flatten)]
    pub http: HttpArgs,
}

impl HealthArgs {
    /// Where the role is asked.
    fn address(&self) -> anyhow::Result<String> {
        if let Some(role) = &self.role {
            return Ok(role.clone());
        }
        let listens = self.listen.as_ref().or(self.health_listen.as_ref());
        let listens = listens.context(
            "say where the role listens: http(s)://host:port, MILLRACE_LISTEN or MILLRACE_HEALTH_LISTEN",
        )?;
        let encrypted = self.listen.is_some() && self.tls_cert.is_some();
        let scheme = if encrypted { "https" } else { "http" };
        Ok(format!("{scheme}://{}", on_this_machine(listens)))
    }
}

/// Whoever listens at every address is asked at this machine's own.
fn on_this_machine(listens: &str) -> String {
    match listens.parse() {
        Ok(SocketAddr::V4(at)) if at.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())).to_string()
        }
        Ok(SocketAddr::V6(at)) if at.ip().is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, at.port())).to_string()
        }
        _ => listens.to_owned(),
    }
}

/// Prints what the role says; a failure if it is not ready.
///
/// # Errors
/// It says nothing.
pub fn run(args: HealthArgs) -> LocalBoxFuture<'static, anyhow::Result<ExitCode>> {
    Box::pin(async move {
        let answer = args
            .http
            .shop(&args.address()?)
            .await?
            .get("/readyz")
            .await?;
        println!("{}", answer.body);
        Ok(if answer.status.is_success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: HealthArgs,
    }

    fn address(args: &[&str]) -> anyhow::Result<String> {
        let line = ["health"].iter().chain(args);
        Line::try_parse_from(line)?.args.address()
    }

    #[test]
    fn the_role_of_the_same_environment_is_asked_where_it_listens() {
        let encrypted = ["--listen", "[::]:8081", "--tls-cert", "tls.crt"];
        let both = [
            "--listen",
            "0.0.0.0:8080",
            "--health-listen",
            "0.0.0.0:8083",
        ];
        for (args, wanted) in [
            (&["http://shop:80"][..], "http://shop:80"),
            (
                &["--health-listen", "10.0.0.7:8083"],
                "http://10.0.0.7:8083",
            ),
            (&["--listen", "localhost:8081"], "http://localhost:8081"),
            (&both, "http://127.0.0.1:8080"),
            (&encrypted, "https://[::1]:8081"),
        ] {
            assert_eq!(address(args).unwrap(), wanted);
        }
        let said = address(&[]).unwrap_err().to_string();
        assert!(said.contains("MILLRACE_HEALTH_LISTEN"), "{said}");
    }
}
