"""Pure builders of Kubernetes objects, shared by client and operator: values in, a new JSON object out."""
