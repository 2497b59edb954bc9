package controllers

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
)

// What keeps a Job or StatefulSet from making its pods, or a volume claim from being
// bound, is in no status: the cluster's controllers tell it by an event only. Events are
// read past the cache, and only of objects that wait for what should come at once.

const (
	// youngRecheck is how soon the events of a young object are looked at again; those of
	// one that has waited for youngAge already are looked at in Reconciler.Interval.
	youngRecheck = 2 * time.Second
	youngAge     = 30 * time.Second
)

// refusalOf is what the newest event about o complains of; empty if it is no complaint.
func (r *Reconciler) refusalOf(ctx context.Context, p *pass, o client.Object) (string, error) {
	if r.now().Sub(o.GetCreationTimestamp().Time) < youngAge {
		p.requeueIn(min(youngRecheck, r.interval()))
	} else {
		p.requeueIn(r.interval())
	}
	var events corev1.EventList
	about := client.MatchingFields{"involvedObject.uid": string(o.GetUID())}
	if err := r.APIReader.List(ctx, &events, client.InNamespace(o.GetNamespace()), about); err != nil {
		return "", fmt.Errorf("list events of %s: %w", describe(o), err)
	}
	var newest corev1.Event
	for _, e := range events.Items {
		// Their times have seconds only; in the same one, the complaint is what o waits for.
		if at := eventTime(e); at.After(eventTime(newest)) || at.Equal(eventTime(newest)) && e.Type == corev1.EventTypeWarning {
			newest = e
		}
	}
	if newest.Type != corev1.EventTypeWarning {
		return "", nil
	}
	return newest.Message, nil
}

// eventTime is when an event happened last; which field says so depends on who reports.
func eventTime(e corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

// creating is what controllers put before the apiserver's words.
var creating = regexp.MustCompile(`(?i)^(Error creating|create Pod \S+ in StatefulSet \S+ failed error): `)

// serverPods is whose pods those of the server's Deployment are.
const serverPods = "the server"

// podsRefused is the finding that the cluster will not have the pods of an object; whose
// says what they are for.
func podsRefused(where, whose, message string) *finding {
	message = outside(creating.ReplaceAllString(message, ""))
	f := &finding{
		reason: assetv1.ReasonPodsRefused, where: where,
		problem: fmt.Sprintf("The cluster refuses the pods of %s (%s)", whose, message),
		remedy:  "raise the quota, or change what it names",
	}
	for _, name := range missingNames {
		switch {
		case !name.said.MatchString(message):
		case name.server && whose != serverPods:
			f.remedy = name.make + ", if the cluster does not in a moment"
		default:
			f.remedy = name.make + ", or correct " + name.field
		}
	}
	if strings.Contains(message, "must specify limits") || strings.Contains(message, "must specify requests") {
		f.remedy = "add a LimitRange with defaults to the namespace, so that the quota can count them"
	}
	return f
}

// volumeRefused is the finding that no volume comes for a claim that was never bound.
func volumeRefused(claim *corev1.PersistentVolumeClaim, text dependencyText, field, message string) *finding {
	return &finding{
		reason: assetv1.ReasonVolumeNotBound, where: "PersistentVolumeClaim " + claim.Name,
		problem: fmt.Sprintf("%s gets no volume (%s)", text.name, outside(message)),
		remedy:  fmt.Sprintf("correct storageClassName or storage in %s (nothing is lost: the volume was never there), or make what it names", field),
	}
}
