package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	assetv1 "github.com/assetplatform/assetplatform/api/v1alpha1"
	"github.com/assetplatform/assetplatform/internal/config"
	"github.com/assetplatform/assetplatform/internal/manifests"
)

func newPlanCommand() *cobra.Command {
	var file string
	var offline bool
	images := manifests.DefaultImages
	cmd := &cobra.Command{
		Use:   config.CommandPlan + " -f FILE --offline",
		Short: "Print every object that the operator would apply for an AssetPlatform",
		Long: `Print every object that the operator would apply for an AssetPlatform, as one
YAML stream in the order in which it is applied.

Secrets are shown without values. A name that ends in the hash of secret values
differs from the cluster's, because the values are not known here.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !offline {
				return errors.New("a plan is made from the file alone: add --offline")
			}
			ap, err := readPlatform(file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return writePlan(cmd.OutOrStdout(), ap, images)
		},
	}
	cmd.Flags().StringVarP(&file, "filename", "f", "", "file with one AssetPlatform; - for standard input")
	cmd.Flags().BoolVar(&offline, "offline", false, "do not ask a cluster")
	cmd.Flags().StringVar(&images.Server, "server-image", images.Server, "image of a platform that names none")
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}

// readPlatform reads one AssetPlatform. A field that it does not have is an error, as at admission.
func readPlatform(file string, stdin io.Reader) (*assetv1.AssetPlatform, error) {
	text, err := readFile(file, stdin)
	if err != nil {
		return nil, err
	}
	ap := &assetv1.AssetPlatform{}
	if err := yaml.UnmarshalStrict(text, ap); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if ap.APIVersion != assetv1.GroupVersion.String() || ap.Kind != "AssetPlatform" {
		return nil, fmt.Errorf("%s: holds %s %s; want one %s AssetPlatform", file, ap.APIVersion, ap.Kind, assetv1.GroupVersion)
	}
	if ap.Name == "" {
		return nil, fmt.Errorf("%s: metadata.name is missing", file)
	}
	if ap.Namespace == "" {
		ap.Namespace = "default"
	}
	ap.UID = "unknown" // owner references show that the children go with the platform
	return ap, nil
}

func readFile(file string, stdin io.Reader) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
}

func writePlan(w io.Writer, ap *assetv1.AssetPlatform, images manifests.Images) error {
	facts := manifests.OfflineFacts(ap, images)
	objects, job := manifests.Plan(ap, facts)
	var stream bytes.Buffer
	for _, o := range append(objects, client.Object(job)) {
		text, err := manifests.PlanYAML(o)
		if err != nil {
			return err
		}
		stream.WriteString("---\n")
		stream.Write(text)
	}
	_, err := w.Write(stream.Bytes())
	return err
}
