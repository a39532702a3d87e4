// Command skiff-schema-facts prints what the Go types of the Kubernetes API say about themselves:
// JSON names, pointers, omitempty, patch markers and protobuf tags, one JSON document on stdout.
// `cargo xtask gen` runs it and joins the answer with upstream's OpenAPI and discovery documents.
// It prints facts only, never comments of the types.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strconv"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes/scheme"
	aggregator "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// Field is one JSON field of a Go struct; embedded structs are already inlined.
type Field struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Go        string `json:"go"`
	Via       string `json:"via"`
	Pointer   bool   `json:"pointer"`
	OmitEmpty bool   `json:"omitempty"`
	OmitZero  bool   `json:"omitzero"`
	Strategy  string `json:"strategy"`
	MergeKey  string `json:"mergeKey"`
	Tag       int    `json:"tag"`
}

// Struct is one Go struct under its OpenAPI name.
type Struct struct {
	Go     string  `json:"go"`
	Fields []Field `json:"fields"`
}

// scalars are the types that decode by a method of their own, and what they are in JSON.
var scalars = map[reflect.Type]string{
	reflect.TypeFor[metav1.Time]():                                "time",
	reflect.TypeFor[metav1.MicroTime]():                           "microtime",
	reflect.TypeFor[metav1.Duration]():                            "duration",
	reflect.TypeFor[metav1.FieldsV1]():                            "any",
	reflect.TypeFor[resource.Quantity]():                          "quantity",
	reflect.TypeFor[intstr.IntOrString]():                         "intorstring",
	reflect.TypeFor[runtime.RawExtension]():                       "any",
	reflect.TypeFor[apiextensions.JSON]():                         "any",
	reflect.TypeFor[apiextensions.JSONSchemaPropsOrArray]():       "any",
	reflect.TypeFor[apiextensions.JSONSchemaPropsOrBool]():        "any",
	reflect.TypeFor[apiextensions.JSONSchemaPropsOrStringArray](): "any",
}

type walk struct {
	structs map[string]*Struct
}

func main() {
	all := runtime.NewScheme()
	must(scheme.AddToScheme(all))
	must(apiextensions.AddToScheme(all))
	must(aggregator.AddToScheme(all))
	w := walk{structs: map[string]*Struct{}}
	for _, t := range all.AllKnownTypes() {
		w.name(t)
	}
	for _, t := range []reflect.Type{
		reflect.TypeFor[metav1.APIGroup](), reflect.TypeFor[metav1.APIGroupList](),
		reflect.TypeFor[metav1.APIResourceList](), reflect.TypeFor[metav1.APIVersions](),
		reflect.TypeFor[metav1.Status](), reflect.TypeFor[version.Info](),
		reflect.TypeFor[metav1.PartialObjectMetadata](), reflect.TypeFor[metav1.Table](),
	} {
		w.name(t)
	}
	out := json.NewEncoder(os.Stdout)
	must(out.Encode(w.structs))
}

// name registers a struct, and all it reaches, and returns its OpenAPI name.
func (w *walk) name(t reflect.Type) string {
	name := strings.ReplaceAll(t.PkgPath(), "/", ".") + "." + t.Name()
	if model, ok := reflect.New(t).Interface().(interface{ OpenAPIModelName() string }); ok {
		name = model.OpenAPIModelName()
	}
	if _, known := w.structs[name]; known {
		return name
	}
	s := &Struct{Go: t.Name()}
	w.structs[name] = s
	w.fields(t, s, "")
	sort.Slice(s.Fields, func(i, j int) bool { return s.Fields[i].Name < s.Fields[j].Name })
	return name
}

// fields appends the fields of t; via names the embedded Go structs between s and t, with
// their protobuf numbers.
func (w *walk) fields(t reflect.Type, s *Struct, via string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() {
			continue
		}
		if f.Anonymous && name == "" {
			w.fields(f.Type, s, via+fmt.Sprintf("%s#%d.", f.Name, tag(f.Tag.Get("protobuf"))))
			continue
		}
		if name == "" {
			name = f.Name
		}
		field := Field{
			Name: name, Via: via, OmitEmpty: has(options, "omitempty"), OmitZero: has(options, "omitzero"),
			Strategy: f.Tag.Get("patchStrategy"), MergeKey: f.Tag.Get("patchMergeKey"),
			Tag: tag(f.Tag.Get("protobuf")),
		}
		it := f.Type
		if it.Kind() == reflect.Pointer {
			field.Pointer, it = true, it.Elem()
		}
		field.Type, field.Go = w.shape(it), it.String()
		s.Fields = append(s.Fields, field)
	}
}

func (w *walk) shape(t reflect.Type) string {
	if it, ok := scalars[t]; ok {
		return it
	}
	switch t.Kind() {
	case reflect.Pointer:
		return w.shape(t.Elem())
	case reflect.Bool:
		return "bool"
	case reflect.Int32:
		return "int32"
	case reflect.Int64, reflect.Int:
		return "int64"
	case reflect.Float64:
		return "float"
	case reflect.String:
		return "string"
	case reflect.Interface:
		return "any"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + w.shape(t.Elem())
	case reflect.Map:
		return "{}" + w.shape(t.Elem())
	case reflect.Struct:
		return w.name(t)
	}
	panic(fmt.Sprintf("no shape for %s (%s)", t, t.Kind()))
}

// tag reads the field number of `protobuf:"bytes,1,opt,name=metadata"`.
func tag(text string) int {
	parts := strings.Split(text, ",")
	if len(parts) < 2 {
		return 0
	}
	number, err := strconv.Atoi(parts[1])
	must(err)
	return number
}

func has(options, want string) bool {
	for _, it := range strings.Split(options, ",") {
		if it == want {
			return true
		}
	}
	return false
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
