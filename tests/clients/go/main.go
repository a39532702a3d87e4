// A client that is not ours: upstream's own library (client-go) against a cluster, as programs in the wild use it.
//
//	client [-media TYPE] NAMESPACE     runs every check in NAMESPACE; one line each, exit code 1 if one fails
//
// With -media the typed client sends and accepts nothing but TYPE; its own choice is protobuf, and JSON where there is
// none.
//
// The server is the kubeconfig's current context. The checks are those that have broken servers before: informers
// (which start with a WatchList), the dynamic client, the three patches, server-side apply with its conflicts,
// optimistic locking, subresources, discovery, and exec over WebSocket when a pod named by -exec runs.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	watchtools "k8s.io/client-go/tools/watch"
	retryonconflict "k8s.io/client-go/util/retry"
)

// limit is how long one check may take; the longest waits for one watch event.
const limit = 30 * time.Second

var (
	execPod = flag.String("exec", "", "also run a command in this pod")
	media   = flag.String("media", "", "the one media type that the typed client speaks")
)

type cluster struct {
	config    *rest.Config
	typed     kubernetes.Interface
	dynamic   dynamic.Interface
	metadata  metadata.Interface
	namespace string
}

type check struct {
	name string
	run  func(context.Context, *cluster) error
}

var checks = []check{
	{"discovery finds the kinds", discovery},
	{"create, get, list, update, delete", crud},
	{"an update of an old revision is a conflict", conflict},
	{"the three patches", patches},
	{"server-side apply has owners", apply},
	{"the dynamic client sees what the typed one made", dynamicClient},
	{"the metadata client sees metadata alone", metadataClient},
	{"an informer starts with what is and follows", informer},
	{"a watch resumes from a revision", watchFrom},
	{"a list comes in pieces", pieces},
	{"a large list is whole, compressed or not", large},
	{"status and scale are subresources", subresources},
	{"a token is an identity", token},
	{"exec runs a command", exec},
}

func main() {
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: client [-exec POD] [-media TYPE] NAMESPACE")
		os.Exit(2)
	}
	c, err := connect(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	failed := 0
	for _, check := range checks {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err := check.run(ctx, c)
		cancel()
		switch {
		case err == nil:
			fmt.Println("ok  ", check.name)
		case errors.Is(err, errSkipped):
			fmt.Println("skip", check.name)
		default:
			failed++
			fmt.Println("FAIL", check.name+":", err)
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}

var errSkipped = errors.New("nothing to run it against")

func connect(namespace string) (*cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	typed, err := typedClient(config)
	if err != nil {
		return nil, err
	}
	metadata, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dynamic, err := dynamic.NewForConfig(config)
	return &cluster{config, typed, dynamic, metadata, namespace}, err
}

func typedClient(config *rest.Config) (kubernetes.Interface, error) {
	spoken := rest.CopyConfig(config)
	spoken.ContentType, spoken.AcceptContentTypes = *media, *media
	return kubernetes.NewForConfig(spoken)
}

func named(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

func discovery(_ context.Context, c *cluster) error {
	// In the library's own choice, for the version is told in JSON alone.
	client, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return err
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	if version.Major != "1" || version.Minor != "37" {
		return fmt.Errorf("the server says it is %s.%s", version.Major, version.Minor)
	}
	resources, err := client.Discovery().ServerPreferredResources()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, list := range resources {
		for _, r := range list.APIResources {
			seen[list.GroupVersion+"/"+r.Name] = true
		}
	}
	for _, want := range []string{"v1/pods", "v1/services", "apps/v1/deployments", "rbac.authorization.k8s.io/v1/roles"} {
		if !seen[want] {
			return fmt.Errorf("%s is not there", want)
		}
	}
	return nil
}

func crud(ctx context.Context, c *cluster) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	made, err := maps.Create(ctx, named("crud", map[string]string{"x": "1"}), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if _, err = maps.Create(ctx, named("crud", nil), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("a second create: %v", err)
	}
	made.Data["x"] = "2"
	if _, err = maps.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	got, err := maps.Get(ctx, "crud", metav1.GetOptions{})
	if err != nil || got.Data["x"] != "2" || got.UID != made.UID {
		return fmt.Errorf("get: %v %v", got, err)
	}
	other := types.UID("11111111-2222-3333-4444-555555555555")
	err = maps.Delete(ctx, "crud", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &other}})
	if !apierrors.IsConflict(err) {
		return fmt.Errorf("delete of another uid: %v", err)
	}
	if err = maps.Delete(ctx, "crud", metav1.DeleteOptions{}); err != nil {
		return err
	}
	if _, err = maps.Get(ctx, "crud", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("get of what was deleted: %v", err)
	}
	return nil
}

func conflict(ctx context.Context, c *cluster) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	old, err := maps.Create(ctx, named("conflict", nil), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	newer := old.DeepCopy()
	newer.Data = map[string]string{"x": "1"}
	if _, err = maps.Update(ctx, newer, metav1.UpdateOptions{}); err != nil {
		return err
	}
	old.Data = map[string]string{"x": "2"}
	if _, err = maps.Update(ctx, old, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("update of an old revision: %v", err)
	}
	return retryonconflict.RetryOnConflict(retryonconflict.DefaultRetry, func() error {
		now, err := maps.Get(ctx, "conflict", metav1.GetOptions{})
		if err != nil {
			return err
		}
		now.Data = map[string]string{"x": "3"}
		_, err = maps.Update(ctx, now, metav1.UpdateOptions{})
		return err
	})
}

func patches(ctx context.Context, c *cluster) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	if _, err := maps.Create(ctx, named("patches", map[string]string{"x": "1"}), metav1.CreateOptions{}); err != nil {
		return err
	}
	for kind, body := range map[types.PatchType]string{
		types.StrategicMergePatchType: `{"data":{"strategic":"1"}}`,
		types.MergePatchType:          `{"data":{"merge":"1"}}`,
		types.JSONPatchType:           `[{"op":"add","path":"/data/json","value":"1"}]`,
	} {
		if _, err := maps.Patch(ctx, "patches", kind, []byte(body), metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	got, err := maps.Get(ctx, "patches", metav1.GetOptions{})
	if err != nil || len(got.Data) != 4 {
		return fmt.Errorf("after three patches: %v %v", got.Data, err)
	}
	return nil
}

func apply(ctx context.Context, c *cluster) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	say := func(value string) *coreapply.ConfigMapApplyConfiguration {
		return coreapply.ConfigMap("apply", c.namespace).WithData(map[string]string{"x": value})
	}
	if _, err := maps.Apply(ctx, say("1"), metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		return err
	}
	if _, err := maps.Apply(ctx, say("2"), metav1.ApplyOptions{FieldManager: "two"}); !apierrors.IsConflict(err) {
		return fmt.Errorf("the second owner: %v", err)
	}
	got, err := maps.Apply(ctx, say("2"), metav1.ApplyOptions{FieldManager: "two", Force: true})
	if err != nil {
		return err
	}
	extract, err := coreapply.ExtractConfigMap(got, "two")
	if err != nil || extract.Data["x"] != "2" {
		return fmt.Errorf("what two owns: %v %v", extract, err)
	}
	return nil
}

func dynamicClient(ctx context.Context, c *cluster) error {
	maps := c.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(c.namespace)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "dynamic"}, "data": map[string]any{"x": "1"},
	}}
	if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	got, err := c.typed.CoreV1().ConfigMaps(c.namespace).Get(ctx, "dynamic", metav1.GetOptions{})
	if err != nil || got.Data["x"] != "1" {
		return fmt.Errorf("the typed client's view: %v %v", got, err)
	}
	list, err := maps.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=dynamic"})
	if err != nil || len(list.Items) != 1 {
		return fmt.Errorf("list by field: %v %v", list, err)
	}
	return nil
}

// It asks for partial objects, in protobuf if it can have them so.
func metadataClient(ctx context.Context, c *cluster) error {
	maps := c.metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(c.namespace)
	watcher, err := maps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=metadata"})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	object := named("metadata", map[string]string{"x": "1"})
	object.Labels = map[string]string{"in": "metadata"}
	made, err := c.typed.CoreV1().ConfigMaps(c.namespace).Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	got, err := maps.Get(ctx, "metadata", metav1.GetOptions{})
	if err != nil || got.UID != made.UID || got.Labels["in"] != "metadata" || len(got.ManagedFields) != 1 {
		return fmt.Errorf("get: %v %v", got, err)
	}
	list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "in=metadata"})
	if err != nil || len(list.Items) != 1 || list.Items[0].UID != made.UID || list.ResourceVersion == "" {
		return fmt.Errorf("list: %v %v", list, err)
	}
	select {
	case event := <-watcher.ResultChan():
		seen, ok := event.Object.(*metav1.PartialObjectMetadata)
		if !ok || event.Type != watch.Added || seen.UID != made.UID {
			return fmt.Errorf("%s came: %v", event.Type, event.Object)
		}
	case <-ctx.Done():
		return errors.New("the event never came")
	}
	return nil
}

func informer(ctx context.Context, c *cluster) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	if _, err := maps.Create(ctx, named("informer-before", nil), metav1.CreateOptions{}); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(c.typed, 0, informers.WithNamespace(c.namespace))
	informer := factory.Core().V1().ConfigMaps().Informer()
	events := make(chan string, 1000)
	name := func(object any) string {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		return object.(*corev1.ConfigMap).Name
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { events <- "add " + name(o) },
		UpdateFunc: func(_, o any) { events <- "update " + name(o) },
		DeleteFunc: func(o any) { events <- "delete " + name(o) },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return errors.New("it never synced")
	}
	await := func(want string) error {
		for {
			select {
			case got := <-events:
				if got == want {
					return nil
				}
			case <-ctx.Done():
				return fmt.Errorf("%q never came", want)
			}
		}
	}
	if err := await("add informer-before"); err != nil {
		return err
	}
	made, err := maps.Create(ctx, named("informer-after", nil), metav1.CreateOptions{})
	if err == nil {
		err = await("add informer-after")
	}
	if err == nil {
		made.Data = map[string]string{"x": "1"}
		_, err = maps.Update(ctx, made, metav1.UpdateOptions{})
	}
	if err == nil {
		err = await("update informer-after")
	}
	if err == nil {
		err = maps.Delete(ctx, "informer-after", metav1.DeleteOptions{})
	}
	if err == nil {
		err = await("delete informer-after")
	}
	return err
}

func watchFrom(ctx context.Context, c *cluster) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range 5 {
		if _, err = maps.Create(ctx, named(fmt.Sprintf("watch-%d", i), nil), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return maps.Watch(ctx, options)
		},
	})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for i := range 5 {
		select {
		case event := <-watcher.ResultChan():
			got, ok := event.Object.(*corev1.ConfigMap)
			if want := fmt.Sprintf("watch-%d", i); !ok || event.Type != watch.Added || got.Name != want {
				return fmt.Errorf("%s came instead of %s: %v", event.Type, want, event.Object)
			}
		case <-ctx.Done():
			return errors.New("the events never came")
		}
	}
	return nil
}

func pieces(ctx context.Context, c *cluster) error {
	maps := c.typed.CoreV1().ConfigMaps(c.namespace)
	for i := range 7 {
		object := named(fmt.Sprintf("pieces-%d", i), nil)
		object.Labels = map[string]string{"in": "pieces"}
		if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	options := metav1.ListOptions{LabelSelector: "in=pieces", Limit: 3}
	var names []string
	for {
		list, err := maps.List(ctx, options)
		if err != nil {
			return err
		}
		for _, item := range list.Items {
			names = append(names, item.Name)
		}
		if options.Continue = list.Continue; options.Continue == "" {
			break
		}
	}
	if len(names) != 7 || names[0] != "pieces-0" || names[6] != "pieces-6" {
		return fmt.Errorf("the pieces make %v", names)
	}
	return nil
}

func large(ctx context.Context, c *cluster) error {
	text := func(i int) string { return strings.Repeat(fmt.Sprintf("%d, ", i), 10_000) }
	for i := range 30 {
		object := named(fmt.Sprintf("large-%02d", i), map[string]string{"text": text(i)})
		object.Labels = map[string]string{"in": "large"}
		if _, err := c.typed.CoreV1().ConfigMaps(c.namespace).Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	plain := rest.CopyConfig(c.config)
	plain.DisableCompression = true
	uncompressed, err := typedClient(plain)
	if err != nil {
		return err
	}
	for _, client := range []kubernetes.Interface{c.typed, uncompressed} {
		list, err := client.CoreV1().ConfigMaps(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: "in=large"})
		if err != nil || len(list.Items) != 30 {
			return fmt.Errorf("%d of 30 came: %v", len(list.Items), err)
		}
		for i, item := range list.Items {
			if item.Name != fmt.Sprintf("large-%02d", i) || item.Data["text"] != text(i) {
				return fmt.Errorf("%s is not what was made", item.Name)
			}
		}
	}
	return nil
}

func subresources(ctx context.Context, c *cluster) error {
	pods := c.typed.CoreV1().Pods(c.namespace)
	pod, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "subresources"},
		Spec:       corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "c", Image: "x"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	pod.Status.Message, pod.Spec.Containers[0].Image = "said", "y"
	pod, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	if err != nil || pod.Status.Message != "said" || pod.Spec.Containers[0].Image != "x" {
		return fmt.Errorf("after the status was written: %v %v", pod, err)
	}
	return nil
}

func token(ctx context.Context, c *cluster) error {
	answer, err := c.typed.CoreV1().ServiceAccounts(c.namespace).
		CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken = answer.Status.Token
	as, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = as.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{})
	want := "system:serviceaccount:" + c.namespace + ":default"
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
		return fmt.Errorf("the account was told: %v", err)
	}
	return nil
}

func exec(ctx context.Context, c *cluster) error {
	if *execPod == "" {
		return errSkipped
	}
	request := c.typed.CoreV1().RESTClient().Get().Namespace(c.namespace).Resource("pods").Name(*execPod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: []string{"sh", "-c", "cat; echo err >&2; exit 3"}, Stdin: true, Stdout: true, Stderr: true},
			scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return err
	}
	var out, errs bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader("in"), Stdout: &out, Stderr: &errs})
	var code interface{ ExitStatus() int }
	if !errors.As(err, &code) || code.ExitStatus() != 3 || out.String() != "in" || errs.String() != "err\n" {
		return fmt.Errorf("it answered %q, %q and %v", out.String(), errs.String(), err)
	}
	return nil
}
