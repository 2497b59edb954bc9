package controllers

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

// specFields are the fields of the spec that fields of our objects come from.
var specFields = []struct{ kind, field, spec string }{
	{"", "spec.template.spec.serviceAccountName", "spec.serviceAccount.name"},
	{"", "spec.template.spec.imagePullSecrets", "spec.imagePullSecrets"},
	{"", "spec.template.spec.priorityClassName", "spec.pod.priorityClassName"},
	{"", "spec.template.spec.nodeSelector", "spec.pod.nodeSelector"},
	{"", "spec.template.spec.tolerations", "spec.pod.tolerations"},
	{"", "spec.template.spec.affinity", "spec.pod.affinity"},
	{"", "spec.template.annotations", "spec.pod.annotations"},
	{"", "spec.template.labels", "spec.pod.labels"},
	{"Service", "spec.ports", "spec.networking.service.port"},
	{"Service", "metadata.annotations", "spec.networking.service.annotations"},
	{"Ingress", "metadata.annotations", "spec.networking.ingress.annotations"},
	{"Ingress", "spec.ingressClassName", "spec.networking.ingress.className"},
	{"Ingress", "spec.rules", "spec.networking.host"},
	{"HTTPRoute", "spec.parentRefs", "spec.networking.gateway.parentRefs"},
	{"HTTPRoute", "spec.hostnames", "spec.networking.host"},
	{"Certificate", "spec.issuerRef", "spec.networking.tls.issuerRef"},
	{"NetworkPolicy", "spec.ingress", "spec.networking.networkPolicy"},
	{"NetworkPolicy", "spec.egress", "spec.networking.networkPolicy.egress"},
	{"HorizontalPodAutoscaler", "spec", "spec.autoscaling"},
	{"ServiceAccount", "metadata.annotations", "spec.serviceAccount.annotations"},
}

// containerFields are those of our containers.
var containerFields = regexp.MustCompile(`^spec\.template\.spec\.containers\[\d+\]\.(resources|image)\b(.*)$`)

// specField is the field of the spec that a field of one of our objects comes from; empty if it is the operator's own.
func specField(o client.Object, field string) string {
	if m := containerFields.FindStringSubmatch(field); m != nil {
		part := managedField(componentOf(o))
		switch {
		case m[1] == "image" && part != "":
			return part + ".image"
		case m[1] == "image":
			return "spec.image"
		case m[1] == "resources" && part == "":
			return "spec.resources" + m[2]
		}
		return ""
	}
	for _, known := range specFields {
		rest, ok := strings.CutPrefix(field, known.field)
		if ok && (known.kind == "" || known.kind == kindOf(o)) && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			if known.kind != "" {
				rest = "" // the paths differ below
			}
			return known.spec + rest
		}
	}
	return ""
}

// refusalOfObject is the finding that the cluster will not have an object as it is wanted.
func refusalOfObject(o client.Object, refusal error) (*finding, bool) {
	if namespaceEnds(refusal) {
		return nil, false
	}
	if problem, ok := wrongField(o, refusal); ok {
		return problem, true
	}
	return asFinding(refusal, describe(o))
}

// wrongField makes of the refusal of an object, where it is for values of the spec, a finding that names its fields: nothing but
// an edit of the spec helps.
func wrongField(o client.Object, refusal error) (*finding, bool) {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(refusal) || !errors.As(refusal, &status) || status.Status().Details == nil {
		return nil, false
	}
	var fields, why []string
	for _, cause := range status.Status().Details.Causes {
		field := specField(o, cause.Field)
		if field == "" {
			return nil, false
		}
		if !slices.Contains(fields, field) {
			fields = append(fields, field)
			why = append(why, cause.Message)
		}
	}
	if len(fields) == 0 {
		return nil, false
	}
	return &finding{
		reason: assetv1.ReasonInvalidSpec, where: describe(o), stalled: true,
		problem: fmt.Sprintf("The cluster refuses %s for %s (%s)", describe(o), listed(fields, "and"), outside(strings.Join(why, "; "))),
		remedy:  "correct " + listed(fields, "and"),
	}, true
}

// missingNames are what the cluster says of pods whose spec names what is not there, and the field that names it.
var missingNames = []struct {
	said   *regexp.Regexp
	field  string
	make   string
	server bool // the field is for the server's pods alone
}{
	{said: regexp.MustCompile(`no PriorityClass with name \S+`), field: "spec.pod.priorityClassName", make: "make the PriorityClass"},
	{said: regexp.MustCompile(`serviceaccount "?\S+?"? not found`), field: "spec.serviceAccount.name", make: "make the ServiceAccount", server: true},
}

// placement says which field of the spec may keep pods from the nodes that are there, going by the scheduler's words.
func placement(c manifests.Component, words string) string {
	var fields []string
	server := c == manifests.ComponentServer // affinity is its alone
	if strings.Contains(words, "Pod's node affinity/selector") {
		fields = append(fields, "spec.pod.nodeSelector")
	}
	if server && (len(fields) > 0 || strings.Contains(words, "match pod affinity") || strings.Contains(words, "match pod anti-affinity")) {
		fields = append(fields, "spec.pod.affinity")
	}
	if strings.Contains(words, "untolerated taint(s)") || slices.ContainsFunc(taints.FindAllStringSubmatch(words, -1), func(taint []string) bool { return !strings.HasPrefix(taint[1], "node.kubernetes.io/") }) {
		fields = append(fields, "spec.pod.tolerations")
	}
	return listed(fields, "or")
}

// taints matches the keys of those that a pod does not tolerate, where the scheduler says them (that of Kubernetes 1.37 does not). One of
// node.kubernetes.io tells of a node that has a problem.
var taints = regexp.MustCompile(`taint \{([^}:]*)`)
