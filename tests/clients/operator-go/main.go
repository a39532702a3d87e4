// An operator by controller-runtime, as kubebuilder's users write them: it runs until it is told to end, and works only
// while it holds the lease "fleet-operator" of its namespace. It runs in a pod (deploy.yaml).
//
// A Fleet becomes a Deployment of its size, which belongs to it; what of it is ready becomes its status. A finalizer
// sees to it that a Fleet leaves a farewell, the ConfigMap NAME-farewell, before it goes.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2/textlogger"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "sea.example.com/farewell"

// How long a lease outlives its holder, and how often it is renewed: short, so that a test sees another take it.
var lease, renewal, retry = 4 * time.Second, 3 * time.Second, time.Second

func main() {
	ctrl.SetLogger(textlogger.NewLogger(textlogger.NewConfig()))
	if err := run(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "operator-go:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find a cluster: %w", err)
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 known(),
		Metrics:                server.Options{BindAddress: "0"},
		HealthProbeBindAddress: ":8081",
		LeaderElection:         true,
		LeaderElectionID:       "fleet-operator",
		LeaseDuration:          &lease,
		RenewDeadline:          &renewal,
		RetryPeriod:            &retry,
	})
	if err != nil {
		return fmt.Errorf("make a manager: %w", err)
	}
	if err := manager.AddHealthzCheck("alive", healthz.Ping); err != nil {
		return fmt.Errorf("answer probes: %w", err)
	}
	fleets := &reconciler{manager.GetClient(), manager.GetScheme()}
	builder := ctrl.NewControllerManagedBy(manager).For(&Fleet{}).Owns(&appsv1.Deployment{})
	if err := builder.Complete(fleets); err != nil {
		return fmt.Errorf("make a controller of fleets: %w", err)
	}
	return manager.Start(ctx)
}

// The kinds that the operator's client knows: upstream's and its own.
func known() *runtime.Scheme {
	scheme := scheme.Scheme
	scheme.AddKnownTypes(groupVersion, &Fleet{}, &FleetList{})
	metav1.AddToGroupVersion(scheme, groupVersion)
	return scheme
}

type reconciler struct {
	client.Client
	scheme *runtime.Scheme
}

// Reconcile makes one fleet true.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	fleet := &Fleet{}
	if err := r.Get(ctx, request.NamespacedName, fleet); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !fleet.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.farewell(ctx, fleet)
	}
	if controllerutil.AddFinalizer(fleet, finalizer) {
		if err := r.Update(ctx, fleet); err != nil {
			return ctrl.Result{}, fmt.Errorf("add the finalizer: %w", err)
		}
	}
	ships := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: fleet.Namespace, Name: fleet.Name}}
	result, err := controllerutil.CreateOrUpdate(ctx, r.Client, ships, func() error {
		build(fleet, ships)
		return controllerutil.SetControllerReference(fleet, ships, r.scheme)
	})
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("make its ships: %w", err)
	}
	fmt.Printf("%s: %d ships (%s), %d ready\n", fleet.Name, fleet.Spec.Size, result, ships.Status.ReadyReplicas)
	return ctrl.Result{}, r.tell(ctx, fleet, ships)
}

// Writes what is to be into a deployment; what others set there stays.
func build(fleet *Fleet, ships *appsv1.Deployment) {
	labels := map[string]string{"fleet": fleet.Name}
	ships.Spec.Replicas = &fleet.Spec.Size
	ships.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	ships.Spec.Template.Labels = labels
	pod, grace := &ships.Spec.Template.Spec, int64(0)
	pod.TerminationGracePeriodSeconds = &grace
	if len(pod.Containers) == 0 {
		pod.Containers = []corev1.Container{{Name: "ship", Command: []string{"sleep", "3600"}}}
	}
	pod.Containers[0].Image = fleet.Spec.Image
}

// Tells in the status what is there; an unchanged one is not written.
func (r *reconciler) tell(ctx context.Context, fleet *Fleet, ships *appsv1.Deployment) error {
	before := fleet.DeepCopyObject().(*Fleet)
	fleet.Status.Ready = ships.Status.ReadyReplicas
	state := metav1.Condition{Type: "Ready", Status: metav1.ConditionFalse, Reason: "Building"}
	if fleet.Status.Ready == fleet.Spec.Size {
		state.Status, state.Reason = metav1.ConditionTrue, "Complete"
	}
	state.ObservedGeneration = fleet.Generation
	changed := meta.SetStatusCondition(&fleet.Status.Conditions, state)
	if !changed && before.Status.Ready == fleet.Status.Ready {
		return nil
	}
	if err := r.Status().Patch(ctx, fleet, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	return nil
}

// Leaves a farewell, and lets the fleet go.
func (r *reconciler) farewell(ctx context.Context, fleet *Fleet) error {
	note := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: fleet.Namespace, Name: fleet.Name + "-farewell"},
		Data:       map[string]string{"size": fmt.Sprint(fleet.Spec.Size)},
	}
	if err := r.Create(ctx, note); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("leave a farewell: %w", err)
	}
	if controllerutil.RemoveFinalizer(fleet, finalizer) {
		// Gone already is what was wanted.
		if err := r.Update(ctx, fleet); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("let it go: %w", err)
		}
	}
	fmt.Printf("%s: farewell\n", fleet.Name)
	return nil
}
