package main

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var groupVersion = schema.GroupVersion{Group: "sea.example.com", Version: "v1"}

// Fleet is what the operator makes true: so many ships, each a pod. Its definition is tests/clients/fleet.yaml.
type Fleet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              FleetSpec   `json:"spec"`
	Status            FleetStatus `json:"status,omitempty"`
}

// FleetSpec is what a user asks for.
type FleetSpec struct {
	Size  int32  `json:"size"`
	Image string `json:"image"`
}

// FleetStatus is what the operator has seen.
type FleetStatus struct {
	Ready      int32              `json:"ready"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// FleetList is what the API answers to a list.
type FleetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Fleet `json:"items"`
}

// DeepCopyObject is what a cache hands out.
func (f *Fleet) DeepCopyObject() runtime.Object {
	copied := *f
	f.ObjectMeta.DeepCopyInto(&copied.ObjectMeta)
	copied.Status.Conditions = nil
	for i := range f.Status.Conditions {
		copied.Status.Conditions = append(copied.Status.Conditions, *f.Status.Conditions[i].DeepCopy())
	}
	return &copied
}

// DeepCopyObject copies the list and what is in it.
func (l *FleetList) DeepCopyObject() runtime.Object {
	copied := *l
	l.ListMeta.DeepCopyInto(&copied.ListMeta)
	copied.Items = nil
	for i := range l.Items {
		copied.Items = append(copied.Items, *l.Items[i].DeepCopyObject().(*Fleet))
	}
	return &copied
}
