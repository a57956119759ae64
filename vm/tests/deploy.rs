//! The recipes of `deploy/`: what must be in them, exit codes as documented, and command lines that the programs take.
//! No network and no cluster is needed; where `docker compose` is there, it reads its file too.
mod common;

use common::launch::{error_text, qnnvm};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(deploy(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All documents of a YAML file.
fn yaml(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn numbers(list: &Value) -> BTreeSet<u64> {
    list.as_array().expect("a list").iter().map(|n| n.as_u64().expect("a number")).collect()
}

/// Codes of a row of the table in `deploy/README.md`, by what Kubernetes does.
fn documented(what: &str) -> BTreeSet<u64> {
    let readme = text("README.md");
    let row = readme.lines().filter(|l| l.starts_with('|') && l.trim_end().ends_with(&format!("{what} |")));
    let codes =
        row.flat_map(|l| l.split('|').nth(1).expect("a cell").split(',').map(|n| n.trim().parse().expect("a code")));
    codes.collect()
}

#[test]
fn exit_codes_are_those_of_the_programs() {
    let all: BTreeSet<u64> =
        ["fails the job", "fails this index", "tries again", "tries again, in a new session", "done"]
            .iter()
            .flat_map(|w| documented(w))
            .collect();
    let known: BTreeSet<u64> = ir::exit::ENDINGS.iter().map(|e| e.exit.into()).collect();
    assert!(known.iter().all(|code| all.contains(code)), "{known:?} are not all in {all:?}");
    let job = &yaml("kubernetes/batch.yaml")[1];
    let rules = job["spec"]["podFailurePolicy"]["rules"].as_array().expect("rules");
    let of = |action: &str| {
        let rule = rules.iter().find(|r| r["action"] == action).expect("a rule");
        assert_eq!(rule["onExitCodes"]["operator"], "In");
        assert_eq!(rule["onExitCodes"]["containerName"], "qnnvm");
        numbers(&rule["onExitCodes"]["values"])
    };
    assert_eq!(of("FailJob"), documented("fails the job"));
    assert_eq!(of("FailIndex"), documented("fails this index"));
    assert!(of("FailJob").contains(&20), "a failed check is never tried again");
    assert!(of("FailJob").is_disjoint(&of("FailIndex")));
    assert!(rules.iter().any(|r| r["action"] == "Ignore" && r["onPodConditions"][0]["type"] == "DisruptionTarget"));
    // The unit stays down where the job or the index fails.
    let unit = text("systemd/qnnvm@.service");
    let line = unit.lines().find_map(|l| l.strip_prefix("RestartPreventExitStatus=")).expect("codes");
    let down: BTreeSet<u64> = line.split(' ').map(|n| n.parse().expect("a code")).collect();
    assert_eq!(down, &documented("fails the job") | &documented("fails this index"));
}

/// What every pod must have.
fn check_pod(pod: &Value, what: &str) {
    let of_pod = &pod["securityContext"];
    assert_eq!(of_pod["runAsNonRoot"], true, "{what}");
    assert!(of_pod["runAsUser"].as_u64() > Some(0), "{what}");
    assert_eq!(of_pod["seccompProfile"]["type"], "RuntimeDefault", "{what}");
    assert_eq!(pod["automountServiceAccountToken"], false, "{what}");
    // Longer than the 30 s in which a server leaves.
    assert!(pod["terminationGracePeriodSeconds"].as_u64() > Some(30), "{what}");
    for c in pod["containers"].as_array().expect("containers") {
        let own = &c["securityContext"];
        assert_eq!(own["allowPrivilegeEscalation"], false, "{what}");
        assert_eq!(own["readOnlyRootFilesystem"], true, "{what}");
        assert_eq!(own["capabilities"]["drop"], json!(["ALL"]), "{what}");
        assert!(c["image"].as_str().is_some_and(|i| i.contains("@sha256:")), "{what}: pinned by digest");
        assert!(c["resources"]["limits"]["memory"].is_string(), "{what}");
        assert_eq!(
            c["resources"]["limits"]["memory"], c["resources"]["requests"]["memory"],
            "{what}: never swapped or evicted"
        );
        // Nothing secret in the environment.
        for env in c["env"].as_array().expect("environment") {
            assert!(env["valueFrom"]["secretKeyRef"].is_null(), "{what}: secrets come as files");
        }
        for mount in c["volumeMounts"].as_array().expect("mounts") {
            assert!(pod["volumes"].as_array().expect("volumes").iter().any(|v| v["name"] == mount["name"]), "{what}");
        }
    }
}

/// Every object has its head, and selectors find what is there.
fn check_objects(objects: &[Value], app: &str) {
    for o in objects {
        let kind = o["kind"].as_str().expect("kind");
        let version = match kind {
            "Service" => "v1",
            "StatefulSet" => "apps/v1",
            "Job" => "batch/v1",
            "PodDisruptionBudget" => "policy/v1",
            "NetworkPolicy" => "networking.k8s.io/v1",
            other => panic!("{other} is no kind of these recipes"),
        };
        assert_eq!(o["apiVersion"], version, "{kind}");
        assert!(o["metadata"]["name"].is_string() && o["spec"].is_object(), "{kind}");
        let selectors = [
            &o["spec"]["selector"]["matchLabels"]["app"],
            &o["spec"]["selector"]["app"],
            &o["spec"]["podSelector"]["matchLabels"]["app"],
            &o["spec"]["template"]["metadata"]["labels"]["app"],
        ];
        let given: Vec<&&Value> = selectors.iter().filter(|s| !s.is_null()).collect();
        assert!(!given.is_empty() && given.iter().all(|s| **s == app), "{kind}: {given:?}");
    }
}

/// Ports of a container by name, compared with its service and its network policy.
fn check_ports(objects: &[Value], container: &Value) {
    let find = |kind: &str| objects.iter().find(|o| o["kind"] == kind).unwrap_or_else(|| panic!("{kind}"));
    let number = |name: &Value| {
        container["ports"]
            .as_array()
            .expect("ports")
            .iter()
            .find(|p| p["name"] == *name)
            .map(|p| p["containerPort"].clone())
    };
    let service = find("Service");
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true, "peers meet before they are ready");
    for port in service["spec"]["ports"].as_array().expect("ports") {
        assert_eq!(number(&port["name"]).as_ref(), Some(&port["port"]));
    }
    let policy = find("NetworkPolicy");
    let open: BTreeSet<u64> = policy["spec"]["ingress"]
        .as_array()
        .expect("ingress")
        .iter()
        .flat_map(|rule| rule["ports"].as_array().expect("ports").iter().map(|p| p["port"].as_u64().expect("a port")))
        .collect();
    let own: BTreeSet<u64> = container["ports"]
        .as_array()
        .expect("ports")
        .iter()
        .map(|p| p["containerPort"].as_u64().expect("a port"))
        .collect();
    assert_eq!(open, own, "as many doors as ports");
}

#[test]
fn a_server_in_kubernetes() {
    let objects = yaml("kubernetes/serve.yaml");
    check_objects(&objects, "qnnvm");
    let set = objects.iter().find(|o| o["kind"] == "StatefulSet").expect("servers");
    let pod = &set["spec"]["template"]["spec"];
    check_pod(pod, "serve.yaml");
    let container = &pod["containers"][0];
    check_ports(&objects, container);
    assert_eq!(set["spec"]["serviceName"], objects[0]["metadata"]["name"]);
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert!(objects.iter().any(|o| o["kind"] == "PodDisruptionBudget"));
    takes(&container["args"], "serve");
}

#[test]
fn a_batch_in_kubernetes() {
    let objects = yaml("kubernetes/batch.yaml");
    check_objects(&objects, "qnn-batch");
    let job = objects.iter().find(|o| o["kind"] == "Job").expect("a job");
    let spec = &job["spec"];
    assert_eq!(spec["completionMode"], "Indexed");
    assert!(spec["backoffLimitPerIndex"].as_u64() > Some(0) && spec["maxFailedIndexes"].is_number());
    assert!(spec["parallelism"].as_u64() <= spec["completions"].as_u64());
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["restartPolicy"], "Never", "which a failure policy needs");
    assert_eq!(pod["subdomain"], objects[0]["metadata"]["name"]);
    check_pod(pod, "batch.yaml");
    let container = &pod["containers"][0];
    check_ports(&objects, container);
    let cells = format!("--cells={}", spec["completions"]);
    assert!(container["args"].as_array().expect("arguments").iter().any(|a| *a == cells.as_str()), "{cells}");
    takes(&container["args"], "--party");
}

/// The program knows all options: it complains about the file that is not there, and not about its arguments.
fn takes(args: &Value, first: &str) {
    let args: Vec<String> = args
        .as_array()
        .expect("arguments")
        .iter()
        .map(|a| a.as_str().expect("text").replace("$(PARTY)", "1"))
        .collect();
    assert!(args[0].starts_with(first));
    let out = qnnvm().args(&args).env("JOB_COMPLETION_INDEX", "0").output().expect("qnnvm");
    let said = error_text(&out);
    assert!(said.contains("No such file") && !said.contains("Usage"), "{args:?}: {said}");
}

#[test]
fn compose() {
    let file = &yaml("compose/compose.yaml")[0];
    let services = file["services"].as_object().expect("services");
    let volumes: BTreeSet<&str> = file["volumes"].as_object().expect("volumes").keys().map(String::as_str).collect();
    for (name, service) in services {
        // What a service takes over is merged by whoever reads it.
        let base = &service["<<"];
        let get = |key: &str| if service[key].is_null() { &base[key] } else { &service[key] };
        assert_eq!(get("read_only"), &json!(true), "{name}");
        assert_eq!(get("cap_drop"), &json!(["ALL"]), "{name}");
        assert_eq!(get("security_opt"), &json!(["no-new-privileges:true"]), "{name}");
        assert!(get("user").as_str().is_some_and(|u| !u.starts_with('0')), "{name}");
        for volume in get("volumes").as_array().expect("volumes") {
            let from = volume.as_str().expect("text").split(':').next().expect("a source");
            assert!(from.starts_with("./") || volumes.contains(from), "{name}: {from}");
        }
        if let Some(port) = service["ports"].as_array() {
            assert!(port.iter().all(|p| p.as_str().is_some_and(|p| p.starts_with("127.0.0.1:"))), "{name}");
        }
        if let Some(command) = service["command"].as_array().filter(|c| c[0] == "serve" || c[0] == "deploy") {
            takes(&Value::Array(command.clone()), command[0].as_str().expect("text"));
        }
    }
    for p in 0..3 {
        let service = &services[&format!("party{p}")];
        let command = service["command"].as_array().expect("command");
        assert!(command.iter().any(|a| *a == format!("/shares/m.{p}.mpcs")), "party {p} gets its own share");
        assert!(command.windows(2).any(|a| a[0] == "--party" && a[1] == format!("{p}").as_str()));
        // Links are plain, so all are on one loopback.
        assert!(p == 0 || service["network_mode"] == "service:party0");
    }
    let net = text("compose/config/net.toml");
    assert_eq!(net.matches("127.0.0.1").count(), 6);
    assert_eq!(yaml("compose/prometheus.yaml")[0]["scrape_configs"][0]["job_name"], "qnnvm");
    let docker = Command::new("docker")
        .args(["compose", "-f"])
        .arg(deploy("compose/compose.yaml"))
        .args(["config", "-q"])
        .output();
    match docker {
        Ok(out) if out.status.success() => {}
        Ok(out) if error_text(&out).contains("compose.yaml") => panic!("{}", error_text(&out)),
        _ => println!("skipped: no `docker compose` here"),
    }
}

#[test]
fn the_image_and_the_unit() {
    let image = text("Dockerfile");
    let last = image.rsplit("\nFROM ").next().expect("a stage");
    assert!(last.starts_with("scratch"), "nothing but the program");
    let user = last.lines().find_map(|l| l.strip_prefix("USER ")).expect("a user");
    assert!(!user.starts_with('0') && !user.starts_with("root"));
    assert!(last.contains("EXPOSE 7700 7800 9464") && image.contains("--locked"));
    let unit = text("systemd/qnnvm@.service");
    for line in [
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "LimitCORE=0",
        "Restart=on-failure",
        "LoadCredential=share:/etc/qnnvm/m.%i.mpcs",
    ] {
        assert!(unit.lines().any(|l| l == line), "{line}");
    }
    assert!(unit.lines().any(|l| l.starts_with("MemoryMax=")));
    let stop: u64 =
        unit.lines().find_map(|l| l.strip_prefix("TimeoutStopSec=")).and_then(|s| s.parse().ok()).expect("seconds");
    assert!(stop > 30);
    let start = unit.lines().find_map(|l| l.strip_prefix("ExecStart=/usr/bin/qnnvm ")).expect("a command");
    let args = start.replace("%i", "0").replace("${CREDENTIALS_DIRECTORY}", "/run/credentials");
    takes(&json!(args.split(' ').collect::<Vec<_>>()), "serve");
}
