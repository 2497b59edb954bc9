package controllers

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// resetPlaces makes room for the ports and containers of an object of ours where others have their place. The number of a port
// is its key for server-side apply: one that was edited by hand is another port, somebody else's, and ours beside it has the
// same name, which the apiserver refuses for ever. A container of ours that was renamed by hand is such another one as well: it
// goes, for it has our port or runs just what ours runs. Where it is neither and an apply was refused, all that others added goes:
// see replaceContent. It says whether there was anything to reset; if not, it is our own intent that is refused, and the refusal
// is returned.
func (a *applier) resetPlaces(ctx context.Context, uid types.UID, intent *unstructured.Unstructured, refusal error) (reset bool, err error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(intent.GroupVersionKind())
	if err := a.uncached.Get(ctx, client.ObjectKeyFromObject(intent), live); err != nil {
		return false, fmt.Errorf("read %s: %w", describe(intent), err)
	}
	if live.GetUID() != uid {
		return false, refusal
	}
	before := live.DeepCopy()
	setPlaces(live.Object, intent.Object)
	if reflect.DeepEqual(before.Object, live.Object) && refusal != nil {
		replaceContent(live.Object, intent.Object)
	}
	if reflect.DeepEqual(before.Object, live.Object) {
		return false, refusal
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	err = a.client.Patch(ctx, live, patch, client.FieldOwner(fieldManager))
	if apierrors.IsInvalid(err) && refusal != nil {
		return false, refusal // it is what we want that is refused
	}
	if err != nil {
		return false, fmt.Errorf("reset %s: %w", describe(intent), err)
	}
	// A patch makes us a second kind of owner, whose fields an apply would never take back.
	owners, err := csaupgrade.UpgradeManagedFieldsPatch(live, sets.New(fieldManager), fieldManager)
	if err == nil && owners != nil {
		err = a.client.Patch(ctx, live, client.RawPatch(types.JSONPatchType, owners))
	}
	if err != nil {
		return false, fmt.Errorf("own what was reset of %s: %w", describe(intent), err)
	}
	return true, nil
}

// replaceContent takes everything of others out of an object of ours: a field beside one of ours may be what makes the two
// invalid, such as minAvailable beside maxUnavailable. The number of replicas stays with whoever scales.
func replaceContent(live, intent map[string]any) {
	for key, wanted := range intent {
		if slices.Contains([]string{"apiVersion", "kind", "metadata", "status"}, key) {
			continue
		}
		replicas, scaled, _ := unstructured.NestedFieldCopy(live, key, "replicas")
		live[key] = runtime.DeepCopyJSONValue(wanted)
		if content, ok := live[key].(map[string]any); ok && scaled && content["replicas"] == nil {
			content["replicas"] = replicas
		}
	}
}

// setPlaces walks two objects side by side, and gives live the ports that intent has. List items are told by name.
func setPlaces(live, intent any) {
	switch wanted := intent.(type) {
	case map[string]any:
		is, ok := live.(map[string]any)
		if !ok {
			return
		}
		for key, value := range wanted {
			list, isList := value.([]any)
			there, wasList := is[key].([]any)
			switch {
			case key == "ports" && isList && wasList:
				is[key] = mergePorts(there, list)
				continue
			case key == "containers" && isList && wasList:
				is[key] = mergeContainers(there, list)
			}
			setPlaces(is[key], value)
		}
	case []any:
		are, _ := live.([]any)
		for _, item := range wanted {
			for _, there := range are {
				if field(there, "name") != nil && field(there, "name") == field(item, "name") {
					setPlaces(there, item)
				}
			}
		}
	}
}

// mergePorts are the wanted ports, each with what the one of its name had beside, and those of others that are not in their way.
func mergePorts(live, wanted []any) []any {
	var ports, others []any
	for _, port := range wanted {
		merged := map[string]any{}
		for _, there := range live {
			if field(there, "name") == field(port, "name") {
				maps.Copy(merged, there.(map[string]any))
			}
		}
		maps.Copy(merged, port.(map[string]any))
		ports = append(ports, merged)
	}
	for _, there := range live {
		inTheWay := slices.ContainsFunc(wanted, func(port any) bool {
			sameNumber := field(there, "port") == field(port, "port") && field(there, "containerPort") == field(port, "containerPort")
			return field(there, "name") == field(port, "name") || sameNumber && field(there, "protocol") == field(port, "protocol")
		})
		if !inTheWay {
			others = append(others, there)
		}
	}
	return append(ports, others...)
}

// mergeContainers are the containers without those of others in the place of ours. One that was renamed by hand is left
// alone until ours is beside it: a pod needs a container.
func mergeContainers(live, wanted []any) []any {
	if !named(live, wanted[0]) {
		return live
	}
	return slices.DeleteFunc(slices.Clone(live), func(there any) bool { return takesPlace(there, wanted) })
}

// takesPlace says whether a container that is not one of those wanted has a port of theirs, or runs just the same.
func takesPlace(container any, wanted []any) bool {
	if named(wanted, container) {
		return false
	}
	ports, _ := field(container, "ports").([]any)
	same := func(ours any, name string) bool { return reflect.DeepEqual(field(container, name), field(ours, name)) }
	return slices.ContainsFunc(wanted, func(ours any) bool {
		if same(ours, "image") && same(ours, "command") && same(ours, "args") {
			return true
		}
		taken, _ := field(ours, "ports").([]any)
		return slices.ContainsFunc(ports, func(port any) bool {
			return slices.ContainsFunc(taken, func(our any) bool {
				return field(port, "containerPort") == field(our, "containerPort") && field(port, "protocol") == field(our, "protocol")
			})
		})
	})
}

// named says whether a list has an item of another item's name.
func named(list []any, item any) bool {
	return slices.ContainsFunc(list, func(i any) bool { return field(i, "name") == field(item, "name") })
}

// placeTaken says whether a workload of ours has a container of others in the place of ours.
func placeTaken(live, intent map[string]any) bool {
	containersOf := func(object map[string]any) []any {
		found, _, _ := unstructured.NestedFieldNoCopy(object, "spec", "template", "spec", "containers")
		list, _ := found.([]any)
		return list
	}
	wanted, containers := containersOf(intent), containersOf(live)
	return len(wanted) > 0 && slices.ContainsFunc(containers, func(there any) bool { return takesPlace(there, wanted) })
}

// field is a field of an object; nil if it is not there.
func field(object any, name string) any {
	fields, _ := object.(map[string]any)
	return fields[name]
}
