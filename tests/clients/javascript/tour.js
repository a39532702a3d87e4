// A tour of a cluster by @kubernetes/client-node: tour.js IMAGE, where IMAGE has busybox's commands.
//
// It prints a step before it takes it, and ends at the first thing that is not as it should be, with a sentence. The
// cluster is the current context of $KUBECONFIG. The namespace "javascript" is left for whoever looks afterwards.

import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import * as k8s from '@kubernetes/client-node';

const NAMESPACE = 'javascript';
const POD = 'page';
// How long, in milliseconds, a step may take.
const LIMIT = 90_000;

const STEPS = [
    ['create a namespace, and wait for its service account', withNamespace],
    ['an informer sees a pod come and become ready', create],
    ['replace an old revision: a conflict', conflict],
    ['exec: output, errors, input and an exit code', run],
    ['port-forward: a page', forward],
    ['logs, as they come', readLogs],
    ['apply at the server, by a client that learns kinds from discovery', apply],
    ['delete the pod, and see it go, and its log end', remove],
];

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
// Done when the log that is followed ends.
let logEnded;

async function main(image) {
    for (const [what, take] of STEPS) {
        console.log(what);
        await within(take(image), what);
    }
}

async function withNamespace() {
    await core.createNamespace({ body: { metadata: { name: NAMESPACE } } });
    const accounts = `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`;
    await seen(accounts, (type, account) => account.metadata.name === 'default');
}

async function create(image) {
    const list = () => core.listNamespacedPod({ namespace: NAMESPACE });
    const informer = k8s.makeInformer(config, `/api/v1/namespaces/${NAMESPACE}/pods`, list);
    const ready = new Promise((resolve, reject) => {
        informer.on('change', (pod) => {
            if (pod.status.conditions?.some((c) => c.type === 'Ready' && c.status === 'True')) resolve();
        });
        informer.on('error', reject);
    });
    await informer.start();
    const command = ['sh', '-c', 'echo one; echo two; echo ahoy > /tmp/index.html; exec httpd -f -p 8080 -h /tmp'];
    const readinessProbe = { httpGet: { path: '/', port: 8080 }, periodSeconds: 1 };
    const pod = {
        metadata: { name: POD, labels: { app: POD } },
        spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'c', image, command, readinessProbe }] },
    };
    const made = await core.createNamespacedPod({ namespace: NAMESPACE, body: pod });
    expect(made.spec.restartPolicy === 'Always', 'the answer has no defaults');
    await ready;
    expect(informer.get(POD, NAMESPACE)?.status.phase === 'Running', 'the cache does not have the pod as it is');
    await informer.stop();
}

async function conflict() {
    const at = { name: 'told', namespace: NAMESPACE };
    const told = { metadata: { name: 'told' }, data: { n: '0' } };
    await core.createNamespacedConfigMap({ namespace: NAMESPACE, body: told });
    const old = await core.readNamespacedConfigMap(at);
    await core.patchNamespacedConfigMap(
        { ...at, body: { data: { n: '1' } } },
        k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
    );
    const answer = await core.replaceNamespacedConfigMap({ ...at, body: old }).then(
        () => 200,
        (e) => e.code,
    );
    expect(answer === 409, `an old revision was answered with ${answer}`);
}

async function run() {
    const [out, err, input] = [new PassThrough(), new PassThrough(), new PassThrough()];
    const command = ['sh', '-c', 'read line; echo got $line; echo and this >&2; exit 3'];
    input.write('a line\n');
    const status = await new Promise((resolve, reject) => {
        new k8s.Exec(config).exec(NAMESPACE, POD, 'c', command, out, err, input, false, resolve).catch(reject);
    });
    const [said, complained] = [text(out), text(err)];
    expect(said === 'got a line\n', `the output was ${JSON.stringify(said)}`);
    expect(complained === 'and this\n', `the errors were ${JSON.stringify(complained)}`);
    const code = status.details?.causes?.find((cause) => cause.reason === 'ExitCode')?.message;
    expect(code === '3', `the status was ${JSON.stringify(status)}`);
}

async function forward() {
    const [out, err, input] = [new PassThrough(), new PassThrough(), new PassThrough()];
    const page = new Promise((resolve) => {
        let answer = '';
        out.on('data', (piece) => {
            answer += piece;
            if (answer.endsWith('ahoy\n')) resolve();
        });
    });
    const socket = await new k8s.PortForward(config).portForward(NAMESPACE, POD, [8080], out, err, input);
    input.write('GET / HTTP/1.0\r\n\r\n');
    await page;
    expect(text(err) === '', 'the port complains');
    socket.close();
}

async function readLogs() {
    const out = new PassThrough();
    const told = new Promise((resolve) => {
        let said = '';
        out.on('data', (piece) => {
            said += piece;
            if (said.endsWith('two\n')) resolve(said);
        });
    });
    logEnded = finished(out);
    await new k8s.Log(config).log(NAMESPACE, POD, 'c', out, { follow: true });
    const said = await told;
    expect(said === 'one\ntwo\n', `the log is ${JSON.stringify(said)}`);
}

async function apply() {
    const objects = k8s.KubernetesObjectApi.makeApiClient(config);
    const metadata = { name: 'told', namespace: NAMESPACE };
    const told = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { m: '2' } };
    const strategy = k8s.PatchStrategy.ServerSideApply;
    const applied = await objects.patch(told, undefined, undefined, 'tour', true, strategy);
    expect(applied.data.n === '1' && applied.data.m === '2', `it has ${JSON.stringify(applied.data)}`);
}

async function remove() {
    const list = await core.listNamespacedPod({ namespace: NAMESPACE });
    const gone = seen(`/api/v1/namespaces/${NAMESPACE}/pods`, (type) => type === 'DELETED', {
        resourceVersion: list.metadata.resourceVersion,
    });
    await core.deleteNamespacedPod({ name: POD, namespace: NAMESPACE });
    await gone;
    await logEnded;
}

// Watches until an event is as asked for; one that ends before is an error.
async function seen(path, wanted, query = {}) {
    let following;
    await new Promise((resolve, reject) => {
        const told = (type, object) => wanted(type, object) && resolve();
        const ended = (e) => reject(e ?? new Error(`the watch of ${path} ended too early`));
        new k8s.Watch(config).watch(path, query, told, ended).then((started) => (following = started), reject);
    });
    following.abort();
}

// What was written into a stream until now.
function text(stream) {
    return stream.read()?.toString() ?? '';
}

function expect(held, otherwise) {
    if (!held) throw new Error(otherwise);
}

async function within(step, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`not done within ${LIMIT / 1000} s: ${what}`)), LIMIT);
    });
    await Promise.race([step, late]).finally(() => clearTimeout(timer));
}

if (process.argv.length !== 3) {
    console.error('usage: tour.js IMAGE');
    process.exit(2);
}
main(process.argv[2]).then(
    // A watch or a socket that is still open keeps nobody.
    () => process.exit(0),
    (e) => {
        console.error(`tour.js: ${e.message}`);
        process.exit(1);
    },
);
