locals {
  podman = "${path.module}/../../podman"

  # The quadlet of ops/podman, with this image, open to the machine's network, its settings and keys in files, and the GPUs.
  # Its own settings go: they would win over the file.
  container = replace(
    replace(
      replace(
        replace(
          file("${local.podman}/rerankd.container"),
          "Image=localhost/rerankd:latest",
          join("\n", concat(["Image=${var.image}"], var.gpu ? ["AddDevice=nvidia.com/gpu=all", "SecurityLabelDisable=true"] : []))
        ),
        "PublishPort=127.0.0.1:8000:8000", "PublishPort=8000:8000"
      ),
      "/(?m)^Environment=.*\\n/", ""
    ),
    "#EnvironmentFile=/etc/rerankd/rerankd.env",
    "EnvironmentFile=/etc/rerankd/rerankd.env\nVolume=/etc/rerankd/keys:/run/keys:ro"
  )

  settings = merge(var.settings, length(var.api_keys) > 0 ? { API_KEYS_FILE = "/run/keys" } : {})

  files = {
    "/etc/containers/systemd/rerankd.container"     = local.container
    "/etc/containers/systemd/rerankd.network"       = file("${local.podman}/rerankd.network")
    "/etc/containers/systemd/rerankd-models.volume" = file("${local.podman}/rerankd-models.volume")
    "/etc/rerankd/rerankd.env"                      = join("\n", concat([for key, value in local.settings : "RERANKER_${key}=${value}"], [""]))
  }
}

resource "azurerm_linux_virtual_machine" "this" {
  count                           = var.instances
  name                            = "${var.name}-${count.index}"
  location                        = azurerm_resource_group.this.location
  resource_group_name             = azurerm_resource_group.this.name
  size                            = var.size
  zone                            = length(var.zones) > 0 ? var.zones[count.index % length(var.zones)] : null
  network_interface_ids           = [azurerm_network_interface.this[count.index].id]
  admin_username                  = "rerankd"
  disable_password_authentication = true
  tags                            = var.tags

  custom_data = base64encode(templatefile("${path.module}/cloud-init.yaml.tftpl", {
    files    = local.files
    keys     = var.api_keys
    gpu      = var.gpu
    image    = var.image
    registry = var.registry_id == "" ? "" : split("/", var.image)[0]
  }))

  admin_ssh_key {
    username   = "rerankd"
    public_key = var.ssh_public_key
  }

  os_disk {
    caching              = "ReadWrite"
    storage_account_type = "Premium_LRS"
    disk_size_gb         = 128
  }

  source_image_reference {
    publisher = var.machine_image.publisher
    offer     = var.machine_image.offer
    sku       = var.machine_image.sku
    version   = var.machine_image.version
  }

  identity {
    type = "SystemAssigned"
  }

  boot_diagnostics {}

  lifecycle {
    # Another cloud-init would make another machine: change one after the other (terraform apply -replace), so that callers always have one.
    ignore_changes = [custom_data]
  }
}

resource "azurerm_role_assignment" "pull" {
  count                = var.registry_id == "" ? 0 : var.instances
  scope                = var.registry_id
  role_definition_name = "AcrPull"
  principal_id         = azurerm_linux_virtual_machine.this[count.index].identity[0].principal_id
}
