//! The `millrace` command line.

use std::process::ExitCode;

use clap::Parser;
use millrace::cli::Cli;

/// A request is some hundred small allocations on one thread, freed on another, which costs less with
/// it than with the C library's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // A child of ours that is to become a server: before any thread is started.
    devstack::launch::take_over(std::env::args_os());
    // async-nats and reqwest take whichever provider the process has installed: one, ring.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("millrace: a TLS provider was installed before main");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("millrace: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(millrace::cli::run(cli)) {
        Ok(code) => code,
        Err(error) => {
            // The one place where an error's chain is printed.
            eprintln!("millrace: {error:#}");
            ExitCode::FAILURE
        }
    }
}
