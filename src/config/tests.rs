//! What command lines are read as.

use super::*;

fn run(arguments: &[&str]) -> RunOptions {
    match parse([&["osvc-igw"], arguments].concat()) {
        Ok(Command::Run(command)) => command.run,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_error(arguments: &[&str], expect: &str) {
    let usage = parse([&["osvc-igw"], arguments].concat()).unwrap_err();
    assert_eq!((usage.text.as_str(), usage.exit_code), (expect, 2));
}

#[test]
fn options_without_a_command_run_the_controller() {
    let options = run(&["--sock", "/var/run/lsnr/lsnr.sock", "--name", "igw1"]);
    assert_eq!(options.gateway.name, "igw1");
    assert_eq!(
        options.daemon.socket,
        Some("/var/run/lsnr/lsnr.sock".into())
    );
    assert_eq!(
        options,
        run(&["run", "-S", "/var/run/lsnr/lsnr.sock", "-n", "igw1"])
    );
}

#[test]
fn the_defaults_are_those_of_the_janitor() {
    let options = run(&[]);
    assert_eq!(
        (options.gateway.port, options.gateway.envoy_port),
        (50051, 9901)
    );
    assert_eq!(options.port_range.to_string(), "1025-65535");
    assert_eq!(options.max_workers, 256);
    assert_eq!(options.worker_threads, 2);
    let socket = XdsSocket::Path("/var/run/xds/xds.sock".into());
    assert_eq!(options.gateway.janitor_socket, socket);
}

#[test]
fn a_bad_value_is_one_line_that_names_the_option() {
    check_error(
        &["-p", "99999"],
        "osvc-igw: invalid value '99999' for '--port <PORT>': 99999 is not in 0..=65535\n",
    );
    check_error(
        &["run", "-r", "9-1"],
        "osvc-igw: invalid value '9-1' for '--port-range <MIN-MAX>': expected MIN-MAX, two \
         ports from 1 to 65535\n",
    );
    check_error(
        &["--nope"],
        "osvc-igw: unexpected argument '--nope' found\n",
    );
    check_error(
        &["--log-format", "xml"],
        "osvc-igw: invalid value 'xml' for '--log-format <FORMAT>' [possible values: text, \
         json]\n",
    );
    check_error(
        &["--janitor-socket", "xds.sock"],
        "osvc-igw: invalid value 'xds.sock' for '--janitor-socket <unix://PATH>': expected \
         unix:///absolute/path, or none\n",
    );
}

#[test]
fn options_that_do_not_fit_together_are_one_line() {
    let remote = ["--server", "https://n1,https://n2:9", "--ca", "a"];
    let with = |more: &[&'static str]| [&remote[..], more].concat();
    for (arguments, expect) in [
        (
            with(&[]),
            "--server needs --client-cert, --user or --token-file",
        ),
        (
            with(&["--client-cert", "c"]),
            "--client-cert needs --client-key",
        ),
        (
            with(&["--client-key", "c"]),
            "--client-key needs --client-cert",
        ),
        (
            with(&["--user", "u"]),
            "--user needs --password-file or $OSVC_IGW_PASSWORD",
        ),
        (
            with(&["--user", "u:v"]),
            "--user has a colon, which no user has",
        ),
        (
            with(&["--token-file", "t", "--password-file", "p"]),
            "--password-file needs --user",
        ),
        (
            with(&["--token-file", "t", "--user", "u"]),
            "--user and --token-file exclude each other",
        ),
        (
            with(&["--token-file", "t", "-S", "s"]),
            "--server and --socket exclude each other",
        ),
        (
            with(&["--user", "u", "--password", "hunter2"]),
            "a password is no argument: use --password-file or $OSVC_IGW_PASSWORD",
        ),
        (vec!["--ca", "a"], "--ca is of no use without --server"),
        (
            vec!["run", "--server", "https://n1"],
            "--server needs --ca, the certificate of the daemons' authority",
        ),
        (
            vec!["--server", "n1"],
            "invalid value 'n1' for '--server <https://HOST[:1215]>': expected https://HOST \
             or https://HOST:PORT",
        ),
    ] {
        check_error(&arguments, &format!("osvc-igw: {expect}\n"));
    }
    let options = run(&with(&["--token-file", "t"]));
    let servers = options.daemon.remote.unwrap().servers;
    assert_eq!(servers.len(), 2);
}

#[test]
fn help_is_no_error() {
    assert_eq!(parse(["osvc-igw", "--help"]).unwrap_err().exit_code, 0);
}

#[test]
fn the_options_table_has_every_documented_option() {
    let table = options_table();
    for option in [
        "-n",
        "-p",
        "-P",
        "-r",
        "-S",
        "--sock",
        "--janitor-socket",
        "-w",
        "--bind",
    ] {
        assert!(
            table.contains(&format!("`{option}`")),
            "{option} in\n{table}"
        );
    }
}
