//! What `--help` and the manual pages say beyond the options: what a command is for, examples, and
//! how it ends. A test reads every example as a command line, so that none can be wrong.

use clap::Command;

/// What is said of one command.
#[derive(Debug)]
pub(super) struct Page {
    /// The words of the command; empty for the program itself.
    words: &'static str,
    /// Paragraphs behind the command's own first sentence.
    about: &'static str,
    /// What each example is for, and its command line.
    pub(super) examples: &'static [(&'static str, &'static str)],
    /// The exit codes, and what each means.
    pub(super) exits: &'static [(u8, &'static str)],
}

/// The page of a command.
pub(super) fn page(words: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.words == words)
}

/// The command with what its page says, and so all commands in it.
pub(super) fn with_pages(command: Command) -> Command {
    below(command, "")
}

fn below(mut command: Command, words: &str) -> Command {
    let names = command.get_subcommands().map(Command::get_name);
    let names: Vec<String> = names.map(str::to_owned).collect();
    for name in names {
        let words = format!("{words} {name}");
        command = command.mut_subcommand(name, |inner| below(inner, words.trim_start()));
    }
    // One line says that a command is missing; help is printed for who asks.
    command = command.arg_required_else_help(false);
    let Some(page) = page(words) else {
        return command;
    };
    if !page.about.is_empty() {
        let about = command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default();
        command = command.long_about(format!("{about}\n\n{}", page.about));
    }
    command.after_long_help(page.after_help())
}

impl Page {
    fn after_help(&self) -> String {
        let mut text = String::from("Examples:\n");
        for (what, line) in self.examples {
            text += &format!("  {what}:\n    {line}\n");
        }
        text += "\nExit codes:\n";
        for (code, meaning) in self.exits {
            text += &format!("  {code}  {meaning}\n");
        }
        text.trim_end().to_owned()
    }
}

/// How a command ends that finds nothing.
pub(super) const EXITS: &[(u8, &str)] = &[
    (0, "done"),
    (
        1,
        "it could not be done; one line on standard error says why",
    ),
    (
        2,
        "the command line is wrong; one line on standard error says what",
    ),
];

const SERVES: &[(u8, &str)] = &[
    (0, "SIGTERM or SIGINT ended it"),
    (1, "it cannot start, or a part of it ended by itself"),
    (
        2,
        "the command line is wrong; one line on standard error says what",
    ),
];

const FINDS: &[(u8, &str)] = &[
    (0, "nothing is wrong"),
    (1, "the command line is wrong, or something cannot be read"),
    (2, "problems were found; they are on standard output"),
];

#[rustfmt::skip]
const PAGES: &[Page] = &[
    Page {
        words: "",
        about: "\
Follows the OpenSVC daemon and serves what services expose to Envoy over delta xDS. Without a \
command it runs the controller, with the options of `osvc-igw run`.

Every option with a value can be given by the environment variable that is named with it; the \
command line goes before it. `--help` of a command tells more than `-h`.",
        examples: &[
            ("Beside the OpenSVC daemon, as the janitor's container was started",
             "osvc-igw --sock /var/run/lsnr/lsnr.sock --name envoy"),
            ("What Envoy starts with", "osvc-igw bootstrap --name envoy > envoy.yaml"),
            ("What is served, refused and waited for", "osvc-igw status --watch"),
            ("What is wrong with a service, before the cluster has it",
             "osvc-igw check test/svc/web1=web1.conf"),
            ("Everything at once, on one machine", "osvc-igw demo --check"),
        ],
        exits: SERVES,
    },
    Page {
        words: "run",
        about: "\
Follows the daemon over its unix socket, as root, or over TLS with --server, as an account with \
grants. Serves xDS on --bind and --port and on --janitor-socket, and its admin pages on \
--admin-address: /healthz, /readyz, /status, /problems, /metrics. Nothing is served before the \
daemon has told its full status, unless --state-dir has what was served last. SIGTERM and SIGINT \
end it; Envoy keeps what it has.",
        examples: &[
            ("On a node, with what was served last kept over restarts",
             "osvc-igw run --name igw1 --state-dir /var/lib/osvc-igw"),
            ("From another machine, as the account `igw`",
             "osvc-igw run --server https://n1:1215,https://n2:1215 --ca ca.pem \
              --client-cert cert.pem --client-key key.pem"),
            ("Ports for `listener_port=0` from a narrow range, log lines for machines",
             "osvc-igw run --port-range 20000-20999 --log-format json"),
            ("With an Envoy of its own, in one container",
             "osvc-igw run --envoy /usr/local/bin/envoy --drain-time 20s"),
            ("The gateway of the cluster, which also gets certificates",
             "osvc-igw run --acme --acme-gateways 192.0.2.1"),
        ],
        exits: SERVES,
    },
    Page {
        words: "acme",
        about: "\
A sec object with `cn`, `alt_names` and `ca` asks for a certificate where `ca` is a sec object \
with the address of an authority in its key `directory` (RFC 8555, HTTP-01). The challenge is a \
key of an OpenSVC object, which every gateway answers.",
        examples: &[
            ("What would be done now, without asking anybody", "osvc-igw acme plan"),
            ("One certificate, now", "osvc-igw acme issue shop/sec/front --force"),
        ],
        exits: EXITS,
    },
    Page {
        words: "acme run",
        about: "\
One process for a cluster. What it is about to do and has done is kept in the object itself, so \
that whoever runs next goes on with the same order. It renews when the authority says so (RFC \
9773), else at two thirds of a certificate's life.",
        examples: &[
            ("With an account, for two gateways",
             "osvc-igw acme run --server https://n1:1215,https://n2:1215 --ca ca.pem \
              --client-cert cert.pem --client-key key.pem --acme-gateways 192.0.2.1,192.0.2.2"),
        ],
        exits: SERVES,
    },
    Page {
        words: "acme plan",
        about: "Says of each certificate what comes next, when, why, and what it costs of the \
authority's limits.",
        examples: &[("On a node, as root", "osvc-igw acme plan")],
        exits: EXITS,
    },
    Page {
        words: "acme status",
        about: "Says of each certificate until when it is good, whether every gateway shows it, \
and what it waits for.",
        examples: &[("On a node, as root", "osvc-igw acme status")],
        exits: EXITS,
    },
    Page {
        words: "acme issue",
        about: "Waits until the certificate is stored. Where an operator runs meanwhile the two \
share one order.",
        examples: &[
            ("If it is due", "osvc-igw acme issue shop/sec/front"),
            ("In any case, also after a failure", "osvc-igw acme issue shop/sec/front --force"),
        ],
        exits: EXITS,
    },
    Page {
        words: "acme check-access",
        about: "Prints the om commands that grant what is missing.",
        examples: &[
            ("For the account of the operator, in two namespaces",
             "osvc-igw acme check-access shop acme --server https://n1:1215 --ca ca.pem \
              --client-cert cert.pem --client-key key.pem"),
        ],
        exits: EXITS,
    },
    Page {
        words: "bootstrap",
        about: "\
YAML that Envoy 1.40 accepts. It names the controller and little else: all that a gateway serves \
comes over xDS. --node-id has to differ where several Envoys belong to one gateway.",
        examples: &[
            ("For an Envoy on the same host", "osvc-igw bootstrap > envoy.yaml"),
            ("For the second Envoy of the gateway igw1, over the unix socket",
             "osvc-igw bootstrap --name igw1 --node-id igw1-b --over-socket > envoy.yaml"),
        ],
        exits: EXITS,
    },
    Page {
        words: "status",
        about: "\
What is wrong stands first: the daemon, problems, each Envoy and what it lacks, waits for or \
refuses and why, held instances, waiting writes, certificates by the time they have left, \
listeners. It asks the controller over gRPC, where xDS is served.",
        examples: &[
            ("On the gateway's host", "osvc-igw status"),
            ("Again whenever something changes", "osvc-igw status --watch"),
            ("For a program, of one Envoy",
             "osvc-igw status --format json --node envoy --synced-resources"),
            ("Over the unix socket", "osvc-igw status --address unix:///var/run/xds/xds.sock"),
        ],
        exits: EXITS,
    },
    Page {
        words: "check",
        about: "\
Reads service configurations as the agent 2.1 would, as if each service had an instance up on each \
of its nodes, compiles them as the controller does, and says what the controller would say, with \
file and line. It also tells what the agent itself would make of them, and keywords that neither \
knows. It asks no daemon: secrets are taken as good, which a note says, and addresses that only a \
node can know are made up. Files that are checked together share listeners.

Findings are problems, which make the exit code 2, and notes, which do not.",
        examples: &[
            ("A file, before om set or om create",
             "osvc-igw check test/svc/web1=web1.conf"),
            ("All services of a node together", "osvc-igw check /etc/opensvc/web.conf \
              /etc/opensvc/namespaces/test/svc/web1.conf"),
            ("What the cluster has now", "om test/svc/web1 print config | \
              osvc-igw check test/svc/web1=-"),
            ("With Envoy's own judgement", "osvc-igw check --envoy /usr/local/bin/envoy web1.conf"),
            ("For a code forge",
             "osvc-igw check --format sarif --namespace test web1.conf > igw.sarif"),
        ],
        exits: FINDS,
    },
    Page {
        words: "diff",
        about: "\
Compares what would be served for the cluster as it is now with what the Envoys of the running \
controller acknowledged last. Either side can be another: what an Envoy runs with, a saved \
status of the daemon, or the cluster with configuration files that nobody has applied yet. Each \
change is told with the object that it comes from and with what it does to traffic. Of secrets \
nothing is told but a fingerprint and the last day. Nothing is pushed and nothing is written.

The options of `osvc-igw run` that say what is served have to be those of the controller.",
        examples: &[
            ("What the Envoys have not got yet", "osvc-igw diff"),
            ("What a change to a service would do, for a pull request",
             "osvc-igw diff --with namespaces/test/svc/web1.conf --format markdown"),
            ("How an Envoy that something else feeds would change",
             "osvc-igw diff --envoy http://127.0.0.1:9901"),
            ("Between two saved states", "osvc-igw diff --from before.json --to after.json"),
        ],
        exits: &[
            (0, "no difference"),
            (1, "the command line is wrong, or a side cannot be had"),
            (2, "there are differences; they are on standard output"),
        ],
    },
    Page {
        words: "health",
        about: "\
Asks for the admin page /healthz, or with --ready for /readyz, which is good from the first \
published snapshot on. For the HEALTHCHECK of a container, and for probes.",
        examples: &[
            ("Whether it answers", "osvc-igw health"),
            ("Whether it serves something", "osvc-igw health --ready"),
        ],
        exits: EXITS,
    },
    Page {
        words: "completion",
        about: "Each shell has a place where it looks for such scripts.",
        examples: &[
            ("Bash", "osvc-igw completion bash > /etc/bash_completion.d/osvc-igw"),
            ("zsh", "osvc-igw completion zsh > /usr/local/share/zsh/site-functions/_osvc-igw"),
            ("fish", "osvc-igw completion fish > /etc/fish/completions/osvc-igw.fish"),
        ],
        exits: EXITS,
    },
    Page {
        words: "man",
        about: "The pages are made from the same table of options as --help.",
        examples: &[
            ("To read one now", "osvc-igw man acme issue | man -l -"),
            ("To install all of them", "osvc-igw man --folder /usr/local/share/man/man1"),
        ],
        exits: EXITS,
    },
    Page {
        words: "demo",
        about: "\
A simulated OpenSVC cluster with real HTTP and TLS backends, the controller, and a real Envoy. \
Prints each om command of OpenSVC's own walk-through, then requests to try and their answers.",
        examples: &[
            ("Until Ctrl-C, with an Envoy that is not on the path",
             "osvc-igw demo --envoy target/venv/bin/envoy"),
            ("Whether every request is answered as it should be", "osvc-igw demo --check"),
            ("The cluster alone, for a gateway that you start", "osvc-igw demo --cluster cluster"),
        ],
        exits: EXITS,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{command, parse};

    fn words(command: &Command, above: &str, found: &mut Vec<String>) {
        found.push(above.to_owned());
        for inner in command.get_subcommands() {
            words(inner, format!("{above} {}", inner.get_name()).trim(), found);
        }
    }

    #[test]
    fn each_command_has_a_page_and_each_page_a_command() {
        let mut found = Vec::new();
        words(&command(), "", &mut found);
        let mut told: Vec<&str> = PAGES.iter().map(|page| page.words).collect();
        found.sort();
        told.sort_unstable();
        assert_eq!(found, told);
    }

    #[test]
    fn each_example_is_a_command_line() {
        let all = PAGES.iter().flat_map(|page| page.examples);
        for (what, line) in all {
            let own = line
                .split('|')
                .find(|part| part.trim().starts_with("osvc-igw"));
            let own = own.unwrap_or_default();
            let own = own.split('>').next().unwrap_or_default();
            assert!(own.contains("osvc-igw"), "{what}: {line}");
            let parsed = parse(own.split_whitespace());
            assert!(parsed.is_ok(), "{what}: {line}: {parsed:?}");
        }
    }

    #[test]
    fn long_help_ends_with_examples_and_exit_codes() {
        for page in PAGES {
            let line = ["osvc-igw"]
                .into_iter()
                .chain(page.words.split_whitespace());
            let help = parse(line.chain(["--help"])).unwrap_err();
            assert_eq!(help.exit_code, 0, "{}", page.words);
            let (_, end) = help.text.split_once("\nExamples:\n").unwrap_or_default();
            assert!(end.contains("\nExit codes:\n  0  "), "{}", help.text);
            for (_, line) in page.examples {
                let beginning: String = line.chars().take(40).collect();
                assert!(end.contains(&beginning), "{line}");
            }
        }
    }
}
