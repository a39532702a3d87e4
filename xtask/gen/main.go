// Command skiff-schema-facts prints what the Go types of the Kubernetes API say about themselves:
// JSON names, pointers, omitempty, patch markers and protobuf tags, one JSON document on stdout.
// `cargo xtask gen` runs it and joins the answer with upstream's OpenAPI and discovery documents.
// It prints facts only, never comments of the types.
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
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
	// The values that the type's package declares for it, where it is marked as an enumeration.
	Enum []string `json:"enum"`
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
	// By package: the values of its enumerations.
	enums map[string]map[string][]string
}

func main() {
	all := runtime.NewScheme()
	must(scheme.AddToScheme(all))
	must(apiextensions.AddToScheme(all))
	must(aggregator.AddToScheme(all))
	w := walk{structs: map[string]*Struct{}, enums: map[string]map[string][]string{}}
	for _, t := range all.AllKnownTypes() {
		w.name(t)
	}
	for _, t := range []reflect.Type{
		reflect.TypeFor[metav1.APIGroup](), reflect.TypeFor[metav1.APIGroupList](),
		reflect.TypeFor[metav1.APIResourceList](), reflect.TypeFor[metav1.APIVersions](),
		reflect.TypeFor[metav1.Status](), reflect.TypeFor[version.Info](),
		reflect.TypeFor[metav1.PartialObjectMetadata](), reflect.TypeFor[metav1.Table](),
		reflect.TypeFor[apidiscovery.APIGroupDiscoveryList](),
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
		field.Type, field.Go, field.Enum = w.shape(it), it.String(), w.enum(it)
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

// enum returns the values of an enumeration, or of one that a list or map holds.
func (w *walk) enum(t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.String || t.PkgPath() == "" {
		return nil
	}
	if _, known := w.enums[t.PkgPath()]; !known {
		w.enums[t.PkgPath()] = enumerations(t.PkgPath())
	}
	return w.enums[t.PkgPath()][t.Name()]
}

// enumerations reads the types of a package that carry the marker `+enum`, and the constants of those types.
func enumerations(path string) map[string][]string {
	marked, values := map[string]bool{}, map[string]map[string]bool{}
	for _, parsed := range files(path) {
		for _, decl := range parsed.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range group.Specs {
				switch it := spec.(type) {
				case *ast.TypeSpec:
					if hasMarker(group.Doc) || hasMarker(it.Doc) {
						marked[it.Name.Name] = true
					}
				case *ast.ValueSpec:
					constants(it, parsed, values)
				}
			}
		}
	}
	all := map[string][]string{}
	for name := range marked {
		for value := range values[name] {
			all[name] = append(all[name], value)
		}
		sort.Strings(all[name])
	}
	return all
}

// files parses a package.
func files(path string) []*ast.File {
	folder, err := exec.Command("go", "list", "-f", "{{.Dir}}", path).Output()
	must(err)
	names, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(folder)), "*.go"))
	must(err)
	var all []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		must(err)
		all = append(all, parsed)
	}
	return all
}

func hasMarker(comments *ast.CommentGroup) bool {
	if comments == nil {
		return false
	}
	for _, line := range comments.List {
		if strings.TrimSpace(strings.TrimPrefix(line.Text, "//")) == "+enum" {
			return true
		}
	}
	return false
}

// constants notes the texts that a specification gives to constants of a named type: `A T = "a"` and `A = T("a")`.
func constants(spec *ast.ValueSpec, file *ast.File, values map[string]map[string]bool) {
	for _, value := range spec.Values {
		of := spec.Type
		if call, ok := value.(*ast.CallExpr); ok && of == nil && len(call.Args) == 1 {
			of, value = call.Fun, call.Args[0]
		}
		name, ok := of.(*ast.Ident)
		if !ok {
			continue
		}
		text, ok := constant(value, file)
		if !ok {
			continue
		}
		if values[name.Name] == nil {
			values[name.Name] = map[string]bool{}
		}
		values[name.Name][text] = true
	}
}

// constant is the text of a literal, or of another package's constant (`v1.IPv4Protocol`).
func constant(value ast.Expr, file *ast.File) (string, bool) {
	switch it := value.(type) {
	case *ast.BasicLit:
		if it.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(it.Value)
		must(err)
		return text, true
	case *ast.SelectorExpr:
		from, ok := it.X.(*ast.Ident)
		if !ok {
			return "", false
		}
		for _, imported := range file.Imports {
			path, err := strconv.Unquote(imported.Path.Value)
			must(err)
			if (imported.Name != nil && imported.Name.Name == from.Name) || (imported.Name == nil && path[strings.LastIndex(path, "/")+1:] == from.Name) {
				return constantOf(path, it.Sel.Name)
			}
		}
	}
	return "", false
}

// constantOf is the text of a package's constant.
func constantOf(path, name string) (string, bool) {
	for _, parsed := range files(path) {
		for _, decl := range parsed.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range group.Specs {
				it, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for at, known := range it.Names {
					if known.Name == name && at < len(it.Values) {
						return constant(it.Values[at], parsed)
					}
				}
			}
		}
	}
	return "", false
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
