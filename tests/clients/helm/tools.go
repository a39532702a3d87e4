//go:build tools

// Package kit pins the Helm that tests/kit/install builds, 3 and 4, out of their Go modules; it is never compiled itself.
// Both stand in one module, so that what they share is compiled once.
package kit

import (
	_ "helm.sh/helm/v3/cmd/helm"
	_ "helm.sh/helm/v4/cmd/helm"
)
