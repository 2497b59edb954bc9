package controllers

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
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
	former  bool   // of pods that still have the settings of an earlier spec: the variables it speaks of are not this one's
}

// message is the condition's message: the problem, and what to do.
func (f *finding) message() string { return f.problem + ": " + f.remedy }

// Error lets a step that finds something return it like any other error.
func (f *finding) Error() string { return f.message() }

// applyRemedy comes before the apiserver's own words.
const applyRemedy = "change what it names: "

// asFinding turns an error that somebody can mend into a finding about the object
// described. Others are for a retry.
func asFinding(err error, where string) (*finding, bool) {
	var found *finding
	if errors.As(err, &found) {
		return found, true
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !refused(err) {
		return nil, false
	}
	f := &finding{
		reason: assetv1.ReasonApplyFailed, where: where,
		problem: fmt.Sprintf("The cluster refuses %s (%s)", where, apierrors.ReasonForError(err)),
		remedy:  applyRemedy + outside(status.Status().Message),
	}
	if strings.Contains(status.Status().Message, "exceeded quota") {
		f.remedy = "raise the quota, or " + f.remedy
	}
	return f, true
}

// refused says whether the apiserver, or someone it asked, will not have an object as
// it is: quotas, policies, and other people's webhooks, also those that are broken.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) ||
		apierrors.IsInternalError(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// namespaceEnds says whether a request failed because its namespace is being deleted.
func namespaceEnds(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
