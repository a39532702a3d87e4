//! Jobs and CronJobs whose pods really run.

use skiff_tests::cluster::{BUSYBOX, Cluster};

/// A Job whose pods run a shell line.
fn job(name: &str, spec: &str, line: &str) -> String {
    format!(
        r#"{{"apiVersion":"batch/v1","kind":"Job","metadata":{{"name":"{name}"}},"spec":{{{spec}
        "template":{{"spec":{{"restartPolicy":"Never","terminationGracePeriodSeconds":1,"containers":[{{"name":"c",
        "image":"{BUSYBOX}","command":["sh","-c",{}]}}]}}}}}}}}"#,
        serde_json::Value::from(line)
    )
}

#[test]
fn jobs_run_to_their_end() {
    let c = Cluster::start("batch-jobs");
    c.load_busybox();
    c.k.apply(&job("well", r#""completions":6,"parallelism":3,"#, "echo done"));
    let spec =
        r#""completionMode":"Indexed","completions":3,"parallelism":3,"backoffLimitPerIndex":0,"#;
    let line = "hostname; echo $JOB_COMPLETION_INDEX; [ $JOB_COMPLETION_INDEX != 1 ]";
    c.k.apply(&job("indexed", spec, line));
    let policy = r#""podFailurePolicy":{"rules":[{"action":"FailJob",
        "onExitCodes":{"operator":"In","values":[42]}}]},"#;
    c.k.apply(&job("badly", policy, "exit 42"));
    c.k.apply(&job("long", r#""activeDeadlineSeconds":2,"#, "sleep 100"));
    c.k.wait("--for=condition=complete job/well --timeout=60s");
    assert_eq!(c.k.ok("get job well -o jsonpath={.status.succeeded}"), "6");
    c.k.wait("--for=condition=failed job/indexed job/badly job/long --timeout=60s");
    let status = "{.status.completedIndexes} {.status.failedIndexes} {.status.failed}";
    assert_eq!(
        c.k.args(&["get", "job", "indexed", "-o", &format!("jsonpath={status}")]),
        "0,2 1 1"
    );
    let two = "logs -l job-name=indexed,batch.kubernetes.io/job-completion-index=2";
    assert_eq!(c.k.ok(two), "indexed-2\n2\n");
    let reasons = r#"jsonpath={range .items[*]}{.metadata.name}:{.status.conditions[?(@.type=="Failed")].reason} {end}"#;
    assert_eq!(
        c.k.args(&["get", "jobs", "-o", reasons]),
        "badly:PodFailurePolicy indexed:FailedIndexes long:DeadlineExceeded well: "
    );
    // Nothing holds the pods any more.
    c.k.ok("delete jobs --all --wait");
    c.k.wait("--for=delete pods --all --timeout=30s");
}

#[test]
fn a_namespace_ends_with_a_job_that_runs() {
    let c = Cluster::start("batch-end");
    c.load_busybox();
    c.k.ok("create namespace going");
    // Its pods succeed when they are told to end: the Job wants others in their place.
    let line = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";
    let k = c.k.namespace("going");
    k.apply(&job("j", r#""completions":4,"parallelism":2,"#, line));
    k.wait("--for=jsonpath={.status.ready}=2 job/j --timeout=30s");
    k.ok("delete namespace going --timeout=60s");
}

#[test]
fn a_cron_job_runs_and_is_suspended() {
    let c = Cluster::start("batch-cron");
    c.load_busybox();
    let template = job("x", "", "date");
    let template = &template[template.find(r#""spec":"#).unwrap()..template.len() - 1];
    c.k.apply(&format!(
        r#"{{"apiVersion":"batch/v1","kind":"CronJob","metadata":{{"name":"c"}},"spec":{{"schedule":"@every 2s",
        "timeZone":"Asia/Tokyo","jobTemplate":{{"metadata":{{"labels":{{"from":"c"}}}},{template}}}}}}}"#
    ));
    c.k.wait("--for=create job -l from=c --timeout=20s");
    c.k.wait("--for=condition=complete job -l from=c --timeout=30s");
    c.k.wait("--for=jsonpath={.status.lastSuccessfulTime} cronjob/c --timeout=10s");
    let at = r#"jsonpath={.items[0].metadata.annotations.batch\.kubernetes\.io/cronjob-scheduled-timestamp}"#;
    assert!(c.k.args(&["get", "jobs", "-o", at]).ends_with("+09:00"));
    c.k.args(&["patch", "cronjob", "c", "-p", r#"{"spec":{"suspend":true}}"#]);
    c.k.ok("create job by-hand --from=cronjob/c");
    c.k.wait("--for=condition=complete job/by-hand --timeout=30s");
    c.k.ok("delete cronjob c");
    c.k.wait("--for=delete job -l from=c --timeout=20s");
}

#[test]
fn each_of_many_completions_counts_once() {
    let c = Cluster::start("batch-many");
    c.load_busybox();
    c.k.apply(&job("many", r#""completions":30,"parallelism":10,"#, "true"));
    c.k.wait("--for=condition=complete job/many");
    assert_eq!(c.k.ok("get job many -o jsonpath={.status.succeeded}{.status.failed}"), "30");
    assert_eq!(c.k.ok("get pods -o name").lines().count(), 30);
}
