//go:build tools

// Package kit pins the Helm 3 and 4 that tests/kit/install builds out of their Go modules; it is never compiled itself.
// Both stand in one module, so that what they share is compiled once: Helm 3 then costs seconds.
package kit

import (
	_ "helm.sh/helm/v3/cmd/helm"
	_ "helm.sh/helm/v4/cmd/helm"
)
