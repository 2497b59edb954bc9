package controllers

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// notRequested are rights that no request shows: checked by an admission plugin, which
// the tests' apiserver runs (OwnerReferencesPermissionEnforcement).
var notRequested = []string{
	"update assetplatforms.assetplatform.io/finalizers",
	"delete deployments.apps", "delete poddisruptionbudgets.policy", // to adopt one
}

// checkRights says, after a run of the whole suite, which rights the operator lacked
// and which ones it was given and never used.
func checkRights(whole bool) error {
	requests, _ := sent.since(0)
	used := map[string]bool{}
	var wrong []error
	for _, r := range requests {
		used[r.verb+" "+r.resource] = true
		if r.denied {
			wrong = append(wrong, fmt.Errorf("the operator is not allowed to %s", r))
		}
		if r.verb == "patch" && r.status == http.StatusCreated { // server-side apply needs the right to create as well
			used["create "+r.resource] = true
		}
	}
	if !whole {
		return errors.Join(wrong...)
	}
	text, err := os.ReadFile("../config/rbac/role.yaml")
	if err != nil {
		return err
	}
	var role rbacv1.ClusterRole
	if err := yaml.Unmarshal(text, &role); err != nil {
		return err
	}
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				name, subresource, _ := strings.Cut(resource, "/")
				if group != "" {
					name += "." + group
				}
				if subresource != "" {
					name += "/" + subresource
				}
				for _, verb := range rule.Verbs {
					right := verb + " " + name
					// client-go lists by watching where the server can; older servers are listed.
					listed := verb == "list" && used["watch "+name]
					if !used[right] && !listed && !slices.Contains(notRequested, right) {
						wrong = append(wrong, fmt.Errorf("config/rbac/role.yaml grants what no test used: %s", right))
					}
				}
			}
		}
	}
	return errors.Join(wrong...)
}
