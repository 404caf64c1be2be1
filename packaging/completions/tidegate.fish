# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_tidegate_global_optspecs
    string join \n h/help V/version
end

function __fish_tidegate_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_tidegate_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_tidegate_using_subcommand
    set -l cmd (__fish_tidegate_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c tidegate -n "__fish_tidegate_needs_command" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_needs_command" -s V -l version -d 'Print version'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "run" -d 'Run the daemon in the foreground (SIGHUP reloads, SIGTERM withdraws and stops, SIGUSR1 stops for a restart)'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "check" -d 'Read a configuration and report every mistake in it'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "status" -d 'The daemon on one screen'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "peers" -d 'BGP sessions; with a name, one of them and what it has been through'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "vips" -d 'VIPs, their services and backends'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "backends" -d 'Backends, one line each'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "drops" -d 'Packets that were dropped, by reason, and what to do about each'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "top" -d 'VIPs, backends, peers, rates and drops on a terminal, live'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "routes" -d 'Routes: received, available and advertised, and why those lost that did'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "events" -d 'What has happened, and with --follow what happens'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "flows" -d 'Packets that the packet path tells of, and what became of each'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "capture" -d 'Write packets as they come and as they leave into a file for Wireshark'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "why" -d 'Where a packet goes, and why: from BGP to the wire, by the program that forwards'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "doctor" -d 'Look for what keeps this node and its backends from working, and say how to mend it'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "support-bundle" -d 'Write an archive for whoever helps: configuration without secrets, state, maps, logs'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "refresh" -d 'Ask a peer for its routes again, or tell it ours again, without closing the session'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "rpki" -d 'RPKI caches, and how many VRPs are in force'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "dump" -d 'Write all routes into a file, for tools that read MRT'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "policy" -d 'Routing policy'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "plan" -d 'Show what a change of the configuration would do'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "apply" -d 'Change the configuration in force'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "confirm" -d 'Keep a change that was applied with --confirm'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "rollback" -d 'Take a change back'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "history" -d 'List the generations of the configuration'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "drain" -d 'Take a backend, a VIP or the node out of service without cutting flows'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "undrain" -d 'Take it back into service'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "health" -d 'Say that a backend is up or down, in the place of its health check'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "upgrade" -d 'Put another binary in the place of the running one; peers and packets see nothing of it'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "offload" -d 'The packet path on a network card'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "decap" -d 'The backend\'s side of ipip and gue: take packets out of their outer headers'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "detach" -d 'Remove the packet path that a stopped daemon left in place'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "token" -d 'Make a token for the API, and the line for the file of those that it knows'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "schema" -d 'Print the JSON Schema of the configuration, for editors'
complete -c tidegate -n "__fish_tidegate_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand run" -s c -l config -d 'Configuration file' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand run" -l orphan -d 'Start another binary that takes over with this one\'s standard input, print its process number, and end' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand run" -l take-over -d 'Take over from the process that started this one, over standard input'
complete -c tidegate -n "__fish_tidegate_using_subcommand run" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand check" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -s w -l watch -d 'Again every two seconds, or so often as is said, until interrupted' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand peers" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand peers" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand peers" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand peers" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand peers" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand peers" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand peers" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand peers" -s w -l watch -d 'Again every two seconds, or so often as is said, until interrupted' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand peers" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand vips" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand vips" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand vips" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand vips" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand vips" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand vips" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand vips" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand vips" -s w -l watch -d 'Again every two seconds, or so often as is said, until interrupted' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand vips" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand backends" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand backends" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand backends" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand backends" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand backends" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand backends" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand backends" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand backends" -s w -l watch -d 'Again every two seconds, or so often as is said, until interrupted' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand backends" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand drops" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drops" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drops" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drops" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drops" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drops" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drops" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand drops" -s w -l watch -d 'Again every two seconds, or so often as is said, until interrupted' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drops" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -s i -l interval -d 'Ask the daemon this often' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand top" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -s p -l peer -d 'Of this peer only' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -s f -l family -d 'Of this family only: ipv4-unicast, ipv6-unicast, or, for the rules that peers ask us to obey, ipv4-flowspec, ipv6-flowspec' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -l prefix -d 'To this prefix only' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -s l -l limit -d 'Stop after so many' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -l from -d 'Go on where an earlier answer said' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -s w -l watch -d 'Again every two seconds, or so often as is said, until interrupted' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand routes" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -s k -l kind -d 'Of this kind only, such as vip-withdrawn, backend-down, peer-down or config-applied' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -l since -d 'Of the last so many minutes or hours only, such as 10m' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -s f -l follow -d 'Go on with those that come, until interrupted'
complete -c tidegate -n "__fish_tidegate_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l last -d 'So many at most, the latest (without --follow: 20)' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l since -d 'Of the last so many minutes or hours only, such as 5m' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l verdict -d 'With this verdict only: forwarded, dropped, answered or passed' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l reason -d 'Dropped for this reason only, such as no_service' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l vip -d 'Of this service, by name, or to this address' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l backend -d 'To this backend' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l from -d 'From this address or prefix' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l protocol -d 'Of this protocol only: tcp, udp or sctp' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l port -d 'To this port' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l input -d 'Read what \'-o json\' has written, not the daemon; \'-\' is standard input' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -s f -l follow -d 'Go on with those that come, until interrupted'
complete -c tidegate -n "__fish_tidegate_using_subcommand flows" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -s w -l write -d 'File to write (pcapng); \'-\' is standard output' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l vip -d 'To the address of this service, by name, or to this VIP; and answers from it' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l to -d 'To this address or prefix, a VIP or not' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l from -d 'From this address or prefix' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l protocol -d 'Of this protocol only: tcp, udp, sctp, icmp or icmpv6' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l port -d 'To this port' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l verdict -d 'With this verdict only: forwarded, dropped, answered or passed' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l reason -d 'Dropped for this reason only, such as no_service' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l seconds -d 'For so long, 3600 at most' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -s c -l count -d 'So many packets at most (without: 10000)' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l snap -d 'The first bytes of each frame, 4096 at most (without: 256)' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l force -d 'Write over a file that is there'
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -l drops -d 'Those that are dropped only'
complete -c tidegate -n "__fish_tidegate_using_subcommand capture" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -l length -d 'Octets of the IP packet' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -l pcap -d 'A packet of this capture (pcap) instead' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -l number -d 'Which one of it, from 1 on' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -l interface -d 'The interface that it comes in by, one of the packet path' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -s c -l config -d 'By this configuration instead of the one in force' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -l established -d 'A packet of a flow that there is already'
complete -c tidegate -n "__fish_tidegate_using_subcommand why" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s c -l config -d 'By this configuration instead of the one in force' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s b -l backend -d 'Of the backends only these' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -s c -l config -d 'Configuration file, while the daemon does not say which' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand support-bundle" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand refresh" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand refresh" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand refresh" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand refresh" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand refresh" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand refresh" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand refresh" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand refresh" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand rpki" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rpki" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rpki" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rpki" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rpki" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rpki" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rpki" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand rpki" -s w -l watch -d 'Again every two seconds, or so often as is said, until interrupted' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rpki" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand dump" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand dump" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand dump" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand dump" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand dump" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand dump" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand dump" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand dump" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and not __fish_seen_subcommand_from test help" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and not __fish_seen_subcommand_from test help" -f -a "test" -d 'Run a made-up route through a policy and show what each term does'
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and not __fish_seen_subcommand_from test help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -s c -l config -d 'Configuration file' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -l policy -d 'One policy by itself' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -l import -d 'The import chain of this peer' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -l export -d 'The export chain of this peer' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -l prefix -d 'The route\'s prefix' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -l as-path -d 'Its AS path, nearest first, as "65010 65020"' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -l community -d 'A community of it, plain or large; may be repeated' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -l med -d 'Its MED' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -l rpki -d 'Whether the AS that originates it may (RFC 6811)' -r -f -a "valid\t'A VRP names it'
invalid\t'VRPs name others'
not-found\t'There is no word on the prefix'"
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -l vip -d 'It is a VIP of ours'
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -l internal -d 'It was learned inside our AS'
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "test" -d 'Run a made-up route through a policy and show what each term does'
complete -c tidegate -n "__fish_tidegate_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand plan" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand plan" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand plan" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand plan" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand plan" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand plan" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand plan" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -l confirm -d 'Undo it after this time, such as 5m, unless `tidegate confirm` is run' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -l guard -d 'Undo it at once when this turns bad; may be given twice' -r -f -a "peers-up\t'BGP sessions that were established stay so'
drops\t'The share of packets that are dropped does not rise'"
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -l comment -d 'Why, for the history' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand confirm" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand confirm" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand confirm" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand confirm" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand confirm" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand confirm" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand confirm" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand confirm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -l confirm -d 'Undo it after this time, such as 5m, unless `tidegate confirm` is run' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -l guard -d 'Undo it at once when this turns bad; may be given twice' -r -f -a "peers-up\t'BGP sessions that were established stay so'
drops\t'The share of packets that are dropped does not rise'"
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -l comment -d 'Why, for the history' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand history" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand history" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand history" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand history" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand history" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand history" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand history" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and not __fish_seen_subcommand_from backend vip node help" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and not __fish_seen_subcommand_from backend vip node help" -f -a "backend" -d 'A backend of a service: no new flows, old ones stay'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and not __fish_seen_subcommand_from backend vip node help" -f -a "vip" -d 'A VIP: its traffic goes to other nodes'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and not __fish_seen_subcommand_from backend vip node help" -f -a "node" -d 'Every VIP of this node'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and not __fish_seen_subcommand_from backend vip node help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -l deadline -d 'How long it may take at most [default: 10m]' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -l quiet -d 'So long without a packet, and nothing is left [default: 60s for a backend, else 5s]' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -l force -d 'Even if the VIP is withdrawn because too few backends are left'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -l wait -d 'Return when it is over'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from backend" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -l deadline -d 'How long it may take at most [default: 10m]' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -l quiet -d 'So long without a packet, and nothing is left [default: 60s for a backend, else 5s]' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -l wait -d 'Return when it is over'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from vip" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -l deadline -d 'How long it may take at most [default: 10m]' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -l quiet -d 'So long without a packet, and nothing is left [default: 60s for a backend, else 5s]' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -l wait -d 'Return when it is over'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from node" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from help" -f -a "backend" -d 'A backend of a service: no new flows, old ones stay'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from help" -f -a "vip" -d 'A VIP: its traffic goes to other nodes'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from help" -f -a "node" -d 'Every VIP of this node'
complete -c tidegate -n "__fish_tidegate_using_subcommand drain; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and not __fish_seen_subcommand_from backend vip node help" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and not __fish_seen_subcommand_from backend vip node help" -f -a "backend" -d 'A backend of a service: it gets its share of new flows again'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and not __fish_seen_subcommand_from backend vip node help" -f -a "vip" -d 'A VIP: it is announced again when it is proven to work'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and not __fish_seen_subcommand_from backend vip node help" -f -a "node" -d 'Every VIP that was not drained by itself'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and not __fish_seen_subcommand_from backend vip node help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from backend" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from backend" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from backend" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from backend" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from backend" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from backend" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from backend" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from backend" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from vip" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from vip" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from vip" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from vip" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from vip" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from vip" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from vip" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from vip" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from node" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from node" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from node" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from node" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from node" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from node" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from node" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from node" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from help" -f -a "backend" -d 'A backend of a service: it gets its share of new flows again'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from help" -f -a "vip" -d 'A VIP: it is announced again when it is proven to work'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from help" -f -a "node" -d 'Every VIP that was not drained by itself'
complete -c tidegate -n "__fish_tidegate_using_subcommand undrain; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and not __fish_seen_subcommand_from set clear help" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and not __fish_seen_subcommand_from set clear help" -f -a "set" -d 'Say that a backend is up or down'
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and not __fish_seen_subcommand_from set clear help" -f -a "clear" -d 'Take it back: the health check counts again'
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and not __fish_seen_subcommand_from set clear help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from set" -l ttl -d 'For how long, up to 24h' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from set" -l reason -d 'Why' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from set" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from set" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from set" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from set" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from set" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from set" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from set" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from clear" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from clear" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from clear" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from clear" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from clear" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from clear" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from clear" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from clear" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from help" -f -a "set" -d 'Say that a backend is up or down'
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from help" -f -a "clear" -d 'Take it back: the health check counts again'
complete -c tidegate -n "__fish_tidegate_using_subcommand health; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand upgrade" -l binary -d 'The new binary; without it, the file that the daemon was started from' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand upgrade" -l within -d 'It has to be ready within this time, 1s to 1m [default: 20s]' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand upgrade" -s s -l socket -d 'Admin socket of the daemon' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand upgrade" -l url -d 'Ask a daemon elsewhere: https://HOST:PORT' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand upgrade" -l token-file -d 'File with the token to show, which is its first line' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand upgrade" -l ca-file -d 'Trust certificates that those in this file have signed (PEM), not those of the system' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand upgrade" -l certificate-file -d 'Certificate to show (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand upgrade" -l key-file -d 'Its private key (PEM)' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand upgrade" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand upgrade" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand offload; and not __fish_seen_subcommand_from plan help" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand offload; and not __fish_seen_subcommand_from plan help" -f -a "plan" -d 'What a network card would take of the packet path, and what it would serve'
complete -c tidegate -n "__fish_tidegate_using_subcommand offload; and not __fish_seen_subcommand_from plan help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand offload; and __fish_seen_subcommand_from plan" -s c -l config -d 'Configuration file' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand offload; and __fish_seen_subcommand_from plan" -s d -l device -d 'Only this kind of card, by its driver' -r -f -a "nfp\t'Netronome Agilio'
netdevsim\t'The kernel\'s device for tests'"
complete -c tidegate -n "__fish_tidegate_using_subcommand offload; and __fish_seen_subcommand_from plan" -s o -l output -d 'How to print' -r -f -a "table\t'Aligned columns'
wide\t'The same with columns that few people need'
json\t'What the API answered'
yaml\t'The same in YAML'"
complete -c tidegate -n "__fish_tidegate_using_subcommand offload; and __fish_seen_subcommand_from plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand offload; and __fish_seen_subcommand_from help" -f -a "plan" -d 'What a network card would take of the packet path, and what it would serve'
complete -c tidegate -n "__fish_tidegate_using_subcommand offload; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand decap" -s i -l interface -d 'Interface on which encapsulated packets arrive' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand decap" -l gue-port -d 'UDP port that takes GUE, datapath.gue-port on the edge' -r
complete -c tidegate -n "__fish_tidegate_using_subcommand decap" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand detach" -s c -l config -d 'Configuration file' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand detach" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand token" -s r -l role -d 'What its holder may do' -r -f -a "read-only\t'Look at everything, change nothing'
operator\t'Look at everything, change everything'"
complete -c tidegate -n "__fish_tidegate_using_subcommand token" -l into -d 'Write the token into this new file, and print the line only' -r -F
complete -c tidegate -n "__fish_tidegate_using_subcommand token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tidegate -n "__fish_tidegate_using_subcommand schema" -s h -l help -d 'Print help'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "run" -d 'Run the daemon in the foreground (SIGHUP reloads, SIGTERM withdraws and stops, SIGUSR1 stops for a restart)'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "check" -d 'Read a configuration and report every mistake in it'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "status" -d 'The daemon on one screen'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "peers" -d 'BGP sessions; with a name, one of them and what it has been through'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "vips" -d 'VIPs, their services and backends'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "backends" -d 'Backends, one line each'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "drops" -d 'Packets that were dropped, by reason, and what to do about each'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "top" -d 'VIPs, backends, peers, rates and drops on a terminal, live'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "routes" -d 'Routes: received, available and advertised, and why those lost that did'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "events" -d 'What has happened, and with --follow what happens'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "flows" -d 'Packets that the packet path tells of, and what became of each'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "capture" -d 'Write packets as they come and as they leave into a file for Wireshark'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "why" -d 'Where a packet goes, and why: from BGP to the wire, by the program that forwards'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "doctor" -d 'Look for what keeps this node and its backends from working, and say how to mend it'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "support-bundle" -d 'Write an archive for whoever helps: configuration without secrets, state, maps, logs'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "refresh" -d 'Ask a peer for its routes again, or tell it ours again, without closing the session'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "rpki" -d 'RPKI caches, and how many VRPs are in force'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "dump" -d 'Write all routes into a file, for tools that read MRT'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "policy" -d 'Routing policy'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "plan" -d 'Show what a change of the configuration would do'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "apply" -d 'Change the configuration in force'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "confirm" -d 'Keep a change that was applied with --confirm'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "rollback" -d 'Take a change back'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "history" -d 'List the generations of the configuration'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "drain" -d 'Take a backend, a VIP or the node out of service without cutting flows'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "undrain" -d 'Take it back into service'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "health" -d 'Say that a backend is up or down, in the place of its health check'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "upgrade" -d 'Put another binary in the place of the running one; peers and packets see nothing of it'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "offload" -d 'The packet path on a network card'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "decap" -d 'The backend\'s side of ipip and gue: take packets out of their outer headers'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "detach" -d 'Remove the packet path that a stopped daemon left in place'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "token" -d 'Make a token for the API, and the line for the file of those that it knows'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "schema" -d 'Print the JSON Schema of the configuration, for editors'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and not __fish_seen_subcommand_from run check status peers vips backends drops top routes events flows capture why doctor support-bundle refresh rpki dump policy plan apply confirm rollback history drain undrain health upgrade offload decap detach token schema help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "test" -d 'Run a made-up route through a policy and show what each term does'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from drain" -f -a "backend" -d 'A backend of a service: no new flows, old ones stay'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from drain" -f -a "vip" -d 'A VIP: its traffic goes to other nodes'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from drain" -f -a "node" -d 'Every VIP of this node'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from undrain" -f -a "backend" -d 'A backend of a service: it gets its share of new flows again'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from undrain" -f -a "vip" -d 'A VIP: it is announced again when it is proven to work'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from undrain" -f -a "node" -d 'Every VIP that was not drained by itself'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from health" -f -a "set" -d 'Say that a backend is up or down'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from health" -f -a "clear" -d 'Take it back: the health check counts again'
complete -c tidegate -n "__fish_tidegate_using_subcommand help; and __fish_seen_subcommand_from offload" -f -a "plan" -d 'What a network card would take of the packet path, and what it would serve'
