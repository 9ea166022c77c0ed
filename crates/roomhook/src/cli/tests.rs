//! The command line as clap sees it.

use clap::CommandFactory as _;

use super::Cli;

#[test]
fn verify_cli() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_and_option_says_what_it_is_for() {
    fn check(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{} has no help", command.get_name());
        for argument in command.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str())) {
            assert!(argument.get_help().is_some(), "{} --{} has no help", command.get_name(), argument.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}
