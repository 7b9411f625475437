//! From what the machine answered to what it means. Pure: asks nothing.

use super::{Facts, Finding, Interface, Severity, Tracepoints};
use crate::egress::{Egress, OnlyThere};
use crate::status::Status;
use edgelore_capture::netlink::Device;

/// tcx, which egress needs, came with Linux 6.6.
const KERNEL_MIN: (u32, u32) = (6, 6);
/// From this MTU on frames no longer fit a page, and XDP sees only their first part as linear.
const MTU_LINEAR_MAX: u32 = 3506;
/// The ring should take at most this part of the memory that can be had.
const MEMORY_SHARE: u64 = 4;

/// Capabilities that the node needs, by number (`linux/capability.h`).
const CAPABILITIES: [(u32, &str); 3] =
    [(39, "CAP_BPF"), (12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON")];
/// Holds all of the above before they were split off, and mounts tracefs.
const CAP_SYS_ADMIN: u32 = 21;

/// Judges everything, in the order in which the node needs it.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        kernel(&facts.kernel),
        btf(facts.btf),
        capabilities(facts.capabilities),
        unprivileged(facts.unprivileged_bpf_disabled),
        objects(facts.objects_embedded),
        outcome(
            "configuration",
            &facts.config,
            "valid",
            "correct the file; `edgelore run --check` checks it",
        ),
        outcome(
            "eBPF programs",
            &facts.programs,
            "load and pass their self-test",
            "run as root or with the capabilities above, on a kernel that allows eBPF",
        ),
    ];
    if facts.interfaces.is_empty() && !facts.routers && facts.config.is_ok() {
        let advice = "name them in capture.interfaces, or routers in capture.bmp";
        findings.push(problem("interfaces", "none is selected", advice));
    }
    let own = |name: &str| matches!(&facts.node, Some(Ok(status)) if status.interfaces.contains_key(name));
    findings.extend(facts.interfaces.iter().flat_map(|one| interface(one, own(&one.name))));
    findings.extend(facts.attached.iter().flat_map(attached));
    findings.extend(facts.tracepoints.iter().flat_map(tracepoints));
    findings.push(ring(facts.ring_bytes, facts.memory_bytes));
    findings.push(outcome(
        "data directory",
        &facts.data_dir,
        "can be written",
        "run as its owner, or set node.data_dir",
    ));
    findings.push(match &facts.key {
        None => ok("signing key", "none yet: made at the first start"),
        Some(key) => outcome("signing key", key, "can be used", "chmod 600 it, or set publish.key"),
    });
    findings.push(outcome(
        "routing tables",
        &facts.fib,
        "can be read",
        "rtnetlink must not be filtered for this process",
    ));
    findings.push(egress(facts.egress, &facts.only_there));
    findings.extend(node(facts.node.as_ref()));
    findings
}

fn finding(severity: Severity, check: &str, found: impl Into<String>, advice: &str) -> Finding {
    let (check, advice) = (check.to_owned(), advice.to_owned());
    Finding { severity, check, found: found.into(), advice }
}

fn ok(check: &str, found: impl Into<String>) -> Finding {
    finding(Severity::Ok, check, found, "")
}

fn warning(check: &str, found: impl Into<String>, advice: &str) -> Finding {
    finding(Severity::Warning, check, found, advice)
}

fn problem(check: &str, found: impl Into<String>, advice: &str) -> Finding {
    finding(Severity::Problem, check, found, advice)
}

fn outcome(check: &str, result: &Result<(), String>, good: &str, advice: &str) -> Finding {
    match result {
        Ok(()) => ok(check, good),
        Err(why) => problem(check, why.as_str(), advice),
    }
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= KERNEL_MIN => {
            ok("kernel", format!("{release}: ring buffer, XDP with fragments, tcx"))
        }
        (Some(Ok(_)), Some(Ok(_))) => {
            problem("kernel", format!("{release}: no tcx"), "use Linux 6.6 or later")
        }
        _ => warning("kernel", format!("release '{release}' is unknown"), "Linux 6.6 is needed"),
    }
}

fn btf(there: bool) -> Finding {
    if there {
        return ok("BTF", "the kernel shows its types");
    }
    warning(
        "BTF",
        "the kernel does not show its types",
        "without CONFIG_DEBUG_INFO_BTF tracepoints count all network namespaces together",
    )
}

fn capabilities(held: Option<u64>) -> Finding {
    let check = "capabilities";
    let Some(held) = held else {
        return warning(check, "cannot be read", "mount /proc");
    };
    let has = |number: u32| held >> number & 1 == 1;
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(number, _)| !has(*number) && (*number == 12 || !has(CAP_SYS_ADMIN)))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return ok(check, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are held");
    }
    let advice = "run as root, or give them to the service (AmbientCapabilities=)";
    problem(check, format!("missing: {}", missing.join(", ")), advice)
}

fn unprivileged(disabled: Option<u8>) -> Finding {
    let check = "unprivileged eBPF";
    match disabled {
        Some(0) => warning(
            check,
            "any user may load eBPF programs",
            "sysctl kernel.unprivileged_bpf_disabled=1; the node does not need it",
        ),
        Some(_) => ok(check, "not allowed"),
        None => ok(check, "the kernel has no such setting"),
    }
}

fn objects(embedded: bool) -> Finding {
    if embedded {
        return ok("eBPF objects", "embedded");
    }
    problem("eBPF objects", "not in this binary", "build it by `cargo xtask build`")
}

/// `own` says that the running node watches it.
fn interface(interface: &Interface, own: bool) -> Vec<Finding> {
    let check = format!("interface {}", interface.name);
    match &interface.device {
        Err(why) => vec![problem(&check, why.as_str(), "rtnetlink must be allowed")],
        Ok(None) => vec![problem(&check, "is not there", "correct capture.interfaces")],
        Ok(Some(device)) => {
            vec![reachable(&check, device), xdp(&check, device, own), mtu(&check, device)]
                .into_iter()
                .chain(offloads(&check, device))
                .collect()
        }
    }
}

fn reachable(check: &str, device: &Device) -> Finding {
    match (device.admin_up, device.carrier) {
        (true, true) => ok(check, "up"),
        (true, false) => warning(check, "has no carrier", "check cable and peer"),
        (false, _) => warning(check, "is down", "ip link set it up"),
    }
}

fn xdp(check: &str, device: &Device, own: bool) -> Finding {
    match device.xdp_program {
        None => ok(check, "no XDP program is attached: native XDP, else generic, is tried"),
        Some(_) if own => ok(check, "watched by the running node"),
        Some(number) => warning(
            check,
            format!("XDP program {number} is attached"),
            "if it is not this node's, ingress falls back to tcx, behind it",
        ),
    }
}

fn mtu(check: &str, device: &Device) -> Finding {
    let mtu = device.mtu;
    if mtu <= MTU_LINEAR_MAX {
        return ok(check, format!("MTU {mtu}: frames are linear"));
    }
    ok(check, format!("MTU {mtu}: XDP with fragments; a driver without them takes generic XDP"))
}

fn offloads(check: &str, device: &Device) -> Option<Finding> {
    (device.lro == Some(true)).then(|| {
        warning(
            check,
            "LRO merges segments before XDP, and many drivers refuse XDP with it",
            "ethtool -K it lro off",
        )
    })
}

fn attached(result: &Result<Vec<String>, String>) -> Vec<Finding> {
    let check = "attachment";
    match result {
        Err(why) => vec![problem(check, why.as_str(), "see the findings above")],
        Ok(modes) => modes
            .iter()
            .map(|mode| {
                if mode.contains('(') {
                    return warning(check, mode.as_str(), "correct, but slower than native XDP");
                }
                ok(check, mode.as_str())
            })
            .collect(),
    }
}

fn tracepoints(result: &Result<Tracepoints, String>) -> Vec<Finding> {
    let check = "tracepoints";
    let advice = "capture goes on without; CAP_SYS_ADMIN mounts tracefs privately, or mount it";
    match result {
        Err(why) => vec![warning(check, why.as_str(), advice)],
        Ok(points) => {
            let missing = points.missing.iter();
            let missing = missing.map(|(name, why)| warning(name, why.as_str(), advice));
            let found = format!("{} attach ({})", points.attached.len(), points.tracefs);
            let attached = (!points.attached.is_empty()).then(|| ok(check, found));
            attached.into_iter().chain(missing).collect()
        }
    }
}

fn ring(bytes: u64, memory: Option<u64>) -> Finding {
    let check = "ring buffer";
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    match memory {
        Some(memory) if bytes > memory / MEMORY_SHARE => warning(
            check,
            format!("{} of {} that can be had", mebibytes(bytes), mebibytes(memory)),
            "make capture.ring_bytes smaller",
        ),
        _ => ok(check, mebibytes(bytes)),
    }
}

fn egress(wanted: Egress, only_there: &OnlyThere) -> Finding {
    let check = "egress";
    match (wanted, only_there.reason()) {
        (Egress::Never, Some(reason)) => {
            let found = format!("{reason}, and what leaves is not watched");
            warning(check, found, "set capture.egress = 'auto', or watch every interface")
        }
        (Egress::Auto, Some(reason)) => ok(check, format!("watched: {reason}")),
        (Egress::Always, _) => ok(check, "watched: it is configured"),
        (_, None) => ok(check, "not watched: nothing is to be seen only where it leaves"),
    }
}

fn node(status: Option<&Result<Status, String>>) -> Vec<Finding> {
    let status = match status {
        None => return vec![ok("running node", "none")],
        Some(Err(why)) => {
            return vec![warning("running node", why.as_str(), "restart it, or look at its log")];
        }
        Some(Ok(status)) => status,
    };
    let mut findings: Vec<Finding> = status
        .interfaces
        .iter()
        .map(|(name, modes)| ok("running node", format!("{name}: {}", modes.join(", "))))
        .collect();
    for (reason, count) in status.lost.iter().filter(|(_, count)| **count > 0) {
        findings.push(warning(
            "running node",
            format!("{count} signals lost: {reason:?}"),
            "enlarge capture.ring_bytes or node.workers",
        ));
    }
    if status.overflows > 0 {
        findings.push(warning(
            "running node",
            format!("{} entries did not fit the bounded tables", status.overflows),
            "watch fewer sessions on this gateway, or report it",
        ));
    }
    for doubt in &status.site_doubts {
        let advice = "correct node.topology_class or node.node_count, or leave them out";
        findings.push(warning("network", doubt.as_str(), advice));
    }
    if let Some(class) = status.site.as_ref().and_then(|site| site.topology.as_ref()) {
        let found = format!(
            "{} at {} of 1000: {}",
            class.class,
            class.confidence_permille,
            class.evidence.join("; ")
        );
        findings.push(ok("network", found));
    }
    if findings.iter().all(|finding| finding.severity == Severity::Ok) {
        findings.push(ok("running node", "nothing lost"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgelore_model::LossReason;

    fn healthy() -> Facts {
        let device =
            Device { index: 2, admin_up: true, carrier: true, mtu: 1500, ..Device::default() };
        Facts {
            kernel: "6.18.44-x".to_owned(),
            btf: true,
            capabilities: Some(u64::MAX),
            unprivileged_bpf_disabled: Some(2),
            objects_embedded: true,
            config: Ok(()),
            programs: Ok(()),
            interfaces: vec![Interface { name: "eth0".to_owned(), device: Ok(Some(device)) }],
            routers: false,
            egress: Egress::Auto,
            only_there: OnlyThere { spoken: ["BGP"].into(), way_in: None },
            attached: None,
            tracepoints: Some(Ok(Tracepoints {
                attached: vec!["skb:kfree_skb".to_owned()],
                ..Tracepoints::default()
            })),
            ring_bytes: 8 << 20,
            memory_bytes: Some(1 << 30),
            data_dir: Ok(()),
            key: None,
            fib: Ok(()),
            node: None,
        }
    }

    #[test]
    fn a_healthy_gateway_has_nothing_but_ok() {
        let findings = judge(&healthy());
        for finding in &findings {
            assert_eq!(finding.severity, Severity::Ok, "{finding:?}");
            assert!(finding.advice.is_empty(), "{finding:?}");
        }
        assert!(findings.len() >= 14, "{}", findings.len());
    }

    fn device(change: impl Fn(&mut Device)) -> impl Fn(&mut Facts) {
        move |facts| {
            if let Ok(Some(device)) = &mut facts.interfaces[0].device {
                change(device);
            }
        }
    }

    #[test]
    fn each_fault_is_found_where_it_is_with_what_to_do() {
        use Severity::{Problem, Warning};
        type Case = (&'static str, Severity, &'static str, Box<dyn Fn(&mut Facts)>);
        let failed = || Err("why".to_owned());
        let cases: Vec<Case> = vec![
            ("kernel", Problem, "no tcx", Box::new(|f| f.kernel = "6.5.1".to_owned())),
            ("kernel", Warning, "unknown", Box::new(|f| f.kernel = "x".to_owned())),
            ("BTF", Warning, "types", Box::new(|f| f.btf = false)),
            ("capabilities", Problem, "CAP_PERFMON", Box::new(|f| f.capabilities = Some(0))),
            (
                "capabilities",
                Problem,
                "missing: CAP_NET_ADMIN",
                Box::new(|f| f.capabilities = Some(1 << CAP_SYS_ADMIN)),
            ),
            ("capabilities", Warning, "read", Box::new(|f| f.capabilities = None)),
            (
                "unprivileged eBPF",
                Warning,
                "any user",
                Box::new(|f| f.unprivileged_bpf_disabled = Some(0)),
            ),
            ("eBPF objects", Problem, "binary", Box::new(|f| f.objects_embedded = false)),
            ("configuration", Problem, "why", Box::new(move |f| f.config = failed())),
            ("eBPF programs", Problem, "why", Box::new(move |f| f.programs = failed())),
            ("interfaces", Problem, "none", Box::new(|f| f.interfaces.clear())),
            ("interface eth0", Problem, "not", Box::new(|f| f.interfaces[0].device = Ok(None))),
            ("interface eth0", Warning, "down", Box::new(device(|d| d.admin_up = false))),
            ("interface eth0", Warning, "carrier", Box::new(device(|d| d.carrier = false))),
            ("interface eth0", Warning, "program 7", Box::new(device(|d| d.xdp_program = Some(7)))),
            ("interface eth0", Warning, "LRO", Box::new(device(|d| d.lro = Some(true)))),
            (
                "attachment",
                Problem,
                "why",
                Box::new(move |f| f.attached = Some(failed().map(|()| vec![]))),
            ),
            (
                "attachment",
                Warning,
                "XdpGeneric",
                Box::new(|f| f.attached = Some(Ok(vec!["lo XdpGeneric (why)".to_owned()]))),
            ),
            (
                "net:x",
                Warning,
                "no such",
                Box::new(|f| {
                    let missing = vec![("net:x".to_owned(), "no such tracepoint".to_owned())];
                    let points = Tracepoints { missing, ..Tracepoints::default() };
                    f.tracepoints = Some(Ok(points));
                }),
            ),
            ("ring buffer", Warning, "MiB", Box::new(|f| f.memory_bytes = Some(16 << 20))),
            ("data directory", Problem, "why", Box::new(move |f| f.data_dir = failed())),
            ("signing key", Problem, "why", Box::new(move |f| f.key = Some(failed()))),
            ("routing tables", Problem, "why", Box::new(move |f| f.fib = failed())),
            (
                "egress",
                Warning,
                "speaks BGP, and what leaves",
                Box::new(|f| f.egress = Egress::Never),
            ),
            (
                "running node",
                Warning,
                "5 signals lost: RingFull",
                Box::new(|f| {
                    let lost = [(LossReason::RingFull, 5)].into();
                    f.node = Some(Ok(Status { lost, ..Status::default() }));
                }),
            ),
            (
                "running node",
                Warning,
                "3 entries",
                Box::new(|f| f.node = Some(Ok(Status { overflows: 3, ..Status::default() }))),
            ),
        ];
        for (check, severity, found, spoil) in cases {
            let mut facts = healthy();
            spoil(&mut facts);
            let bad: Vec<Finding> = judge(&facts)
                .into_iter()
                .filter(|finding| finding.severity != Severity::Ok)
                .collect();
            assert_eq!(bad.len(), 1, "{check} {found}: {bad:?}");
            assert_eq!((bad[0].check.as_str(), bad[0].severity), (check, severity), "{bad:?}");
            assert!(bad[0].found.contains(found) && !bad[0].advice.is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn the_running_nodes_own_program_is_no_stranger() {
        let mut facts = healthy();
        device(|device| device.xdp_program = Some(7))(&mut facts);
        let interfaces = [("eth0".to_owned(), vec!["XdpNative".to_owned()])].into();
        facts.node = Some(Ok(Status { interfaces, ..Status::default() }));
        assert!(judge(&facts).iter().all(|finding| finding.severity == Severity::Ok));
    }

    #[test]
    fn large_frames_are_told_but_are_no_fault() {
        let mut facts = healthy();
        device(|device| device.mtu = 9000)(&mut facts);
        let findings = judge(&facts);
        assert!(findings.iter().all(|finding| finding.severity == Severity::Ok));
        assert!(findings.iter().any(|finding| finding.found.contains("MTU 9000: XDP with frag")));
    }
}
