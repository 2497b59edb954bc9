package controllers

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// finding is something that is wrong, said to the person who can mend it.
type finding struct {
	reason  string // of the condition
	problem string // what is wrong
	where   string // Kind name
	remedy  string // what to do, named down to the field
	stalled bool   // only an edit of the AssetPlatform can help
}

// message is the condition's message: the problem, and what to do.
func (f *finding) message() string { return f.problem + ": " + f.remedy }

// Error lets a step that finds something return it like any other error.
func (f *finding) Error() string { return f.message() }

// asFinding turns an error that the user can mend into a finding about the object
// described. Others are for a retry.
func asFinding(err error, where string) (*finding, bool) {
	var found *finding
	switch {
	case err == nil:
		return nil, false
	case errors.As(err, &found):
		return found, true
	case errors.Is(err, ErrNameConflict):
		return &finding{
			reason: assetv1.ReasonNameConflict, where: where,
			problem: fmt.Sprintf("%s exists and is not this platform's", where),
			remedy:  fmt.Sprintf("rename or delete it, or annotate it with %s=true to hand it over", assetv1.AnnotationAdopt),
		}, true
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err):
		return &finding{
			reason: assetv1.ReasonApplyFailed, where: where,
			problem: fmt.Sprintf("the cluster refuses %s (%s)", where, apierrors.ReasonForError(err)),
			remedy:  refusalRemedy(err),
		}, true
	}
	return nil, false
}

// refusalRemedy repeats what the apiserver said: quotas, policies and other
// people's webhooks explain themselves there.
func refusalRemedy(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return "change what it names: " + status.Status().Message
	}
	return err.Error()
}
