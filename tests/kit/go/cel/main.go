// Upstream's judge of a custom resource's rules, for the benchmark beside ours:
//
//	cel-rules SCHEMA NEW OLD SECONDS     prints nanoseconds for each time that NEW was judged, as one JSON object
//
// SCHEMA is a schema of OpenAPI v3, NEW and OLD are objects, all as files of JSON. What is broken ends the program.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

func read(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return utiljson.Unmarshal(text, into)
}

func run(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("usage: cel-rules SCHEMA NEW OLD SECONDS")
	}
	seconds, err := strconv.ParseFloat(args[3], 64)
	if err != nil {
		return err
	}
	var outer v1.JSONSchemaProps
	var inner apiextensions.JSONSchemaProps
	var now, old map[string]any
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &outer); err != nil {
		return err
	}
	if err := v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(&outer, &inner, nil); err != nil {
		return err
	}
	structural, err := schema.NewStructural(&inner)
	if err != nil {
		return err
	}
	if err := read(args[1], &now); err != nil {
		return err
	}
	if err := read(args[2], &old); err != nil {
		return err
	}
	judge := cel.NewValidator(structural, false, celconfig.PerCallLimit)
	began, times := time.Now(), 0
	for ; time.Since(began).Seconds() < seconds; times++ {
		faults, _ := judge.Validate(context.Background(), nil, structural, now, old, celconfig.RuntimeCELCostBudget)
		if len(faults) > 0 {
			return faults.ToAggregate()
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"ns": float64(time.Since(began).Nanoseconds()) / float64(times)})
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
