// flux-apply does with a file what Flux's kustomize-controller does with a Kustomization, by Flux's own code: it applies the
// objects, compares them again as the next reconciliation would, and waits until they are ready. It prints what became of
// each, one a line: the action of the first and of the second apply.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: flux-apply FILE, with KUBECONFIG set")
	}
	if err := run(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(file string) error {
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	c, err := client.New(cfg, client.Options{})
	if err != nil {
		return err
	}
	text, err := os.Open(file)
	if err != nil {
		return err
	}
	objects, err := utils.ReadObjects(text)
	if err != nil {
		return err
	}
	manager := ssa.NewResourceManager(c, polling.NewStatusPoller(c, c.RESTMapper(), polling.Options{}), ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})
	manager.SetOwnerLabels(objects, "games", "flux-system")
	ctx := context.Background()
	first, err := manager.ApplyAll(ctx, clone(objects), ssa.DefaultApplyOptions())
	if err != nil {
		return err
	}
	if err := manager.WaitForSet(first.ToObjMetadataSet(), ssa.WaitOptions{Interval: 200 * time.Millisecond, Timeout: 2 * time.Minute}); err != nil {
		return err
	}
	second, err := manager.ApplyAll(ctx, clone(objects), ssa.DefaultApplyOptions())
	if err != nil {
		return err
	}
	for i, entry := range first.Entries {
		fmt.Printf("%s: %s, then %s\n", entry.Subject, entry.Action, second.Entries[i].Action)
	}
	return nil
}

func clone(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	var copies []*unstructured.Unstructured
	for _, o := range objects {
		copies = append(copies, o.DeepCopy())
	}
	return copies
}
