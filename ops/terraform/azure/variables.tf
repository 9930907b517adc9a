variable "name" {
  description = "What everything is called, and what the names of everything begin with."
  type        = string
  default     = "rerankd"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name: 2 to 31 lower-case letters, digits and dashes, a letter first."
  }
}

variable "location" {
  description = "Azure region; it has to have the machine's size."
  type        = string
}

variable "size" {
  description = "Size of each machine. The default has one A100 with 80 GB; a size without a GPU works with gpu = false."
  type        = string
  default     = "Standard_NC24ads_A100_v4"
}

variable "gpu" {
  description = "Whether machines have NVIDIA GPUs, all of which the service gets. The image has to be built with VARIANT=cuda then."
  type        = bool
  default     = true
}

variable "instances" {
  description = "Machines. Put a balancer before two or more, as in ops/haproxy."
  type        = number
  default     = 1
  validation {
    condition     = var.instances >= 1 && var.instances <= 20
    error_message = "instances: 1 to 20."
  }
}

variable "zones" {
  description = "Availability zones that machines are spread over, in turn; empty where the region has none."
  type        = list(string)
  default     = []
}

variable "image" {
  description = "The service's container image, with its registry and tag."
  type        = string
}

variable "registry_id" {
  description = "Resource id of the Azure container registry that the image is pulled from, with the machine's own identity; empty for a public image."
  type        = string
  default     = ""
}

variable "settings" {
  description = "Settings of the service by name, without the prefix RERANKER_ (`rerankd settings` shows them). A model is named only with an image that has none inside."
  type        = map(string)
  default     = { WORKERS = "2", LOG_JSON = "true" }
}

variable "api_keys" {
  description = "Keys that callers must show, best as `sha256:HEX`. Empty: whoever reaches the port may call."
  type        = list(string)
  default     = []
  sensitive   = true
}

variable "ssh_public_key" {
  description = "Public key of the administrator `rerankd`."
  type        = string
}

variable "callers" {
  description = "Address ranges that may call the service (port 8000). From the machines' own network everybody may."
  type        = list(string)
  default     = []
}

variable "administrators" {
  description = "Address ranges that may log in by ssh; empty: nobody."
  type        = list(string)
  default     = []
}

variable "public" {
  description = "Whether machines have public addresses. There is no TLS here: set TLS_CERT and TLS_KEY, or put a balancer with TLS before them."
  type        = bool
  default     = false
}

variable "machine_image" {
  description = "Marketplace image: Podman 4.7 or newer in its archive; with a GPU, NVIDIA's driver and container toolkit inside."
  type        = object({ publisher = string, offer = string, sku = string, version = string })
  default     = { publisher = "microsoft-dsvm", offer = "ubuntu-hpc", sku = "2404", version = "latest" }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
